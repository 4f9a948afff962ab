"""Access: users, their roles in projects, and their secrets.

::

    users ──► memberships (role) ──► projects
      │                                 ▲  ▲
      ├──► visits (since when news are news) ─► projects
      ├──► identities (their subjects at an OpenID issuer)
      ├──► devices (browsers they have logged in with)
      ├──► login_sessions ──────────────┘  │   of every secret only the sha256 is kept
      └──► tokens ─────────────────────────┤
           share_links (one batch) ────────┘

    audit: who did what, written once       rate_windows: how often, in the current window
    login_flows: logins by an issuer in progress, some minutes long
"""

import datetime
import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, CreatedAt, Digest, RowId, is_digest, one_of
from db.models.projects import Owned

ROLES = ("viewer", "contributor", "maintainer")
SCOPES = ("read", "upload", "submit", "build", "admin")


class User(Base):
    """A user with a password, or one who logs in by an issuer."""

    __tablename__ = "users"
    __table_args__ = (
        sa.CheckConstraint("name ~ '^[a-z0-9][a-z0-9._@-]{0,62}$'", name="name_is_plain"),
        sa.CheckConstraint("email ~ '^[^@[:space:]]+@[^@[:space:]]+$'", name="email_is_plain"),
        sa.CheckConstraint("email = lower(email)", name="email_is_lower"),
    )

    id: Mapped[RowId]
    name: Mapped[str] = mapped_column(unique=True)
    # An invitation: the issuer's user with this verified address is linked at the first login.
    email: Mapped[str | None] = mapped_column(unique=True)
    # Argon2; null for users without a password.
    password_hash: Mapped[str | None]
    # Administrator of the installation: creates projects and users, maintainer of every project.
    is_admin: Mapped[bool] = mapped_column(server_default=sa.false())
    disabled_at: Mapped[datetime.datetime | None]
    created_at: Mapped[CreatedAt]


class Membership(Base):
    """The role of a user in a project."""

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


class Visit(Base):
    """When a user last looked at a project's news; a visit lasts while pages are asked for."""

    __tablename__ = "visits"

    project_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    # The end of the visit before this one: news are later than it. Null: this is the first.
    since: Mapped[datetime.datetime | None]
    # To some minutes: not every poll writes.
    last_at: Mapped[datetime.datetime]


class Identity(Base):
    """A user's identity at an OpenID issuer: a subject, which is never reassigned."""

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
    """A login by the issuer in progress; used once, by the browser that started it."""

    __tablename__ = "login_flows"
    __table_args__ = (is_digest("secret_digest"), is_digest("state_digest"))

    id: Mapped[RowId]
    # Digests of the browser's secret and of the state sent through the issuer; both are checked.
    secret_digest: Mapped[Digest] = mapped_column(unique=True)
    state_digest: Mapped[Digest]
    nonce: Mapped[str]
    code_verifier: Mapped[str]
    # The page to open after the login.
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
    # Its owner; null if made on the command line. It has no more rights than its owner.
    user_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("users.id", ondelete="CASCADE"), index=True
    )
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime.datetime | None]
    last_used_at: Mapped[datetime.datetime | None]
    revoked_at: Mapped[datetime.datetime | None]


class LoginSession(Base):
    """A browser with a logged-in user, and the chosen project."""

    __tablename__ = "login_sessions"
    __table_args__ = (is_digest("secret_digest"),)

    id: Mapped[RowId]
    secret_digest: Mapped[Digest] = mapped_column(unique=True)
    user_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("users.id", ondelete="CASCADE"), index=True
    )
    # Null until one is chosen; reset when the membership ends.
    project_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("projects.id", ondelete="SET NULL"), index=True
    )
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime.datetime]
    revoked_at: Mapped[datetime.datetime | None]


class Device(Base):
    """A browser in which a user has logged in: failed logins of others do not count against it."""

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
    """A link by which anybody can read one batch."""

    __tablename__ = "share_links"
    __table_args__ = (is_digest("secret_digest"),)

    id: Mapped[RowId]
    batch_id: Mapped[uuid.UUID] = mapped_column(
        sa.ForeignKey("batches.id", ondelete="CASCADE"), index=True
    )
    secret_digest: Mapped[Digest] = mapped_column(unique=True)
    made_by: Mapped[str]
    # Suspended while its maker could not share the batch (``credentials.find``).
    user_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("users.id", ondelete="CASCADE"), index=True
    )
    token_id: Mapped[uuid.UUID | None] = mapped_column(
        sa.ForeignKey("tokens.id", ondelete="CASCADE"), index=True
    )
    created_at: Mapped[CreatedAt]
    # Always set; nullable because links of earlier releases did not expire.
    expires_at: Mapped[datetime.datetime | None]
    revoked_at: Mapped[datetime.datetime | None]


class AuditEntry(Base):
    """An action of a caller. The database refuses to change or delete one.

    No foreign keys: its subject may be deleted, the entry stays.
    """

    __tablename__ = "audit"

    id: Mapped[RowId]
    # Null for actions on the whole installation.
    project_id: Mapped[uuid.UUID | None] = mapped_column(index=True)
    actor: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str]
    detail: Mapped[dict[str, Any]]
    address: Mapped[str | None]
    created_at: Mapped[CreatedAt]


class RateWindow(Base):
    """A count in the current window of time; one row per key."""

    __tablename__ = "rate_windows"
    # UNLOGGED: cheap writes matter more than surviving a crash.
    __table_args__ = {"prefixes": ["UNLOGGED"]}  # noqa: RUF012  # as SQLAlchemy reads it

    key: Mapped[str] = mapped_column(primary_key=True)
    started_at: Mapped[datetime.datetime] = mapped_column(index=True)
    done_count: Mapped[int]
