"""Who may do what: people, their roles in projects, and the secrets they show.

::

    users ──► memberships (role) ──► projects
      │                                 ▲  ▲
      ├──► identities (whom an OpenID issuer says they are)
      ├──► devices (browsers they have logged in with)
      ├──► login_sessions ──────────────┘  │   of every secret only the sha256 is kept
      └──► tokens ─────────────────────────┤
           share_links (one batch) ────────┘

    audit: who did what, written once       rate_windows: how often, in the present window
    login_flows: on the way to an issuer and back, some minutes long
"""

import datetime
import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, CreatedAt, Digest, RowId, is_digest, one_of
from db.models.projects import Owned

ROLES = ("viewer", "contributor", "maintainer")
SCOPES = ("read", "upload", "submit", "admin")


class User(Base):
    """A person with a password of their own, or one whom an issuer knows."""

    __tablename__ = "users"
    __table_args__ = (
        sa.CheckConstraint("name ~ '^[a-z0-9][a-z0-9._@-]{0,62}$'", name="name_is_plain"),
        sa.CheckConstraint("email ~ '^[^@[:space:]]+@[^@[:space:]]+$'", name="email_is_plain"),
        sa.CheckConstraint("email = lower(email)", name="email_is_lower"),
    )

    id: Mapped[RowId]
    name: Mapped[str] = mapped_column(unique=True)
    # An invitation: whoever the issuer vouches has this address is linked at their first login.
    email: Mapped[str | None] = mapped_column(unique=True)
    # Argon2; null for who cannot log in yet.
    password_hash: Mapped[str | None]
    # Of the whole installation: makes projects and users, and is a maintainer everywhere.
    is_admin: Mapped[bool] = mapped_column(server_default=sa.false())
    disabled_at: Mapped[datetime.datetime | None]
    created_at: Mapped[CreatedAt]


class Membership(Base):
    """What a user may do in a project."""

    __tablename__ = "memberships"
    __table_args__ = (one_of("role", ROLES, "role_is_known"),)

    project_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    role: Mapped[str]
    created_at: Mapped[CreatedAt]


class Identity(Base):
    """A user as an OpenID issuer knows them: by a subject that never becomes somebody else's."""

    __tablename__ = "identities"
    __table_args__ = (
        sa.UniqueConstraint("issuer", "subject", name="uq_identities_subject"),
        sa.UniqueConstraint("user_id", "issuer", name="uq_identities_user"),
    )

    id: Mapped[RowId]
    user_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"))
    issuer: Mapped[str]
    subject: Mapped[str]
    created_at: Mapped[CreatedAt]


class LoginFlow(Base):
    """A login on its way to the issuer and back; taken once, by the browser that began it."""

    __tablename__ = "login_flows"
    __table_args__ = (is_digest("secret_digest"), is_digest("state_digest"))

    id: Mapped[RowId]
    # Of what the browser keeps, and of what travels through the issuer: both must come back.
    secret_digest: Mapped[Digest] = mapped_column(unique=True)
    state_digest: Mapped[Digest]
    nonce: Mapped[str]
    code_verifier: Mapped[str]
    # The page that was asked for.
    target: Mapped[str]
    expires_at: Mapped[datetime.datetime] = mapped_column(index=True)
    created_at: Mapped[CreatedAt]


class Token(Owned, Base):
    """A secret for programs: some scopes in one project, until it expires or is revoked."""

    __tablename__ = "tokens"
    __table_args__ = (is_digest("secret_digest"),)

    id: Mapped[RowId]
    name: Mapped[str]
    secret_digest: Mapped[Digest] = mapped_column(unique=True)
    scopes: Mapped[list[str]]
    # Whose it is; null for one made on the command line. It can do no more than its owner can.
    user_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("users.id", ondelete="CASCADE"), index=True
    )
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime.datetime | None]
    last_used_at: Mapped[datetime.datetime | None]
    revoked_at: Mapped[datetime.datetime | None]


class LoginSession(Base):
    """A browser somebody has logged in with, and the project they look at."""

    __tablename__ = "login_sessions"
    __table_args__ = (is_digest("secret_digest"),)

    id: Mapped[RowId]
    secret_digest: Mapped[Digest] = mapped_column(unique=True)
    user_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("users.id", ondelete="CASCADE"), index=True
    )
    # Null until one is chosen; a membership that ends takes the choice back.
    project_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("projects.id", ondelete="SET NULL"), index=True
    )
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime.datetime]
    revoked_at: Mapped[datetime.datetime | None]


class Device(Base):
    """A browser in which a user has logged in: strangers' failed tries do not count against it."""

    __tablename__ = "devices"
    __table_args__ = (is_digest("secret_digest"),)

    id: Mapped[RowId]
    secret_digest: Mapped[Digest] = mapped_column(unique=True)
    user_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("users.id", ondelete="CASCADE"), index=True
    )
    expires_at: Mapped[datetime.datetime]
    created_at: Mapped[CreatedAt]


class ShareLink(Owned, Base):
    """Lets whoever has its address read one batch, and nothing else."""

    __tablename__ = "share_links"
    __table_args__ = (is_digest("secret_digest"),)

    id: Mapped[RowId]
    batch_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("batches.id", ondelete="CASCADE"), index=True
    )
    secret_digest: Mapped[Digest] = mapped_column(unique=True)
    made_by: Mapped[str]
    # It opens nothing that its maker could not share now (``credentials.find``).
    user_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("users.id", ondelete="CASCADE"), index=True
    )
    token_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("tokens.id", ondelete="CASCADE"), index=True
    )
    created_at: Mapped[CreatedAt]
    # Always set; nullable since links of earlier releases had no end.
    expires_at: Mapped[datetime.datetime | None]
    revoked_at: Mapped[datetime.datetime | None]


class AuditEntry(Base):
    """Something somebody did. The database refuses to change or delete one.

    It refers to nothing by foreign key: what it tells of may be deleted, the entry stays.
    """

    __tablename__ = "audit"

    id: Mapped[RowId]
    # Null for what concerns the whole installation.
    project_id: Mapped[uuid.UUID | None] = mapped_column(index=True)
    actor: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str]
    detail: Mapped[dict[str, Any]]
    address: Mapped[str | None]
    created_at: Mapped[CreatedAt]


class RateWindow(Base):
    """How often something was done in the present window of time; one row for each key."""

    __tablename__ = "rate_windows"
    # A crash may forget it: writing is worth more than keeping.
    __table_args__ = {"prefixes": ["UNLOGGED"]}  # noqa: RUF012  # as SQLAlchemy reads it

    key: Mapped[str] = mapped_column(primary_key=True)
    started_at: Mapped[datetime.datetime] = mapped_column(index=True)
    done_count: Mapped[int]
