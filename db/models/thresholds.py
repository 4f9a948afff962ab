"""How much a counter may worsen before a project calls it a regression."""

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, RowId
from db.models.projects import Owned


class CounterLimit(Owned, Base):
    """One counter's limit in one project: a share of the base's value, or a count."""

    __tablename__ = "counter_limits"
    __table_args__ = (
        sa.UniqueConstraint("project_id", "counter"),
        sa.CheckConstraint("(permille IS NULL) <> (absolute IS NULL)", name="one_kind"),
        sa.CheckConstraint("permille >= 0 AND absolute >= 0", name="not_negative"),
    )

    id: Mapped[RowId]
    counter: Mapped[str]
    permille: Mapped[int | None] = mapped_column(sa.BigInteger)
    absolute: Mapped[int | None] = mapped_column(sa.BigInteger)
