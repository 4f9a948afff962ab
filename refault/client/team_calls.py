"""What the methods of ``Team`` and ``AsyncTeam`` ask, each request described once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from refault.client import calls, resumable
from refault.client.calls import Call
from refault.client.documents import BatchSummaryDocument

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from refault.client.documents import BatchDocument, Page


def change_trace(trace: str, **fields: Any) -> Call[dict[str, Any]]:
    """Change name, tags, note or guest of a trace."""
    return calls.ask("PATCH", ("traces", trace), body=fields)


def delete_trace(
    trace: str, *, cascade: bool = False, dry_run: bool = False
) -> Call[dict[str, Any]]:
    """Delete a trace for good; what goes, or would go, with it."""
    return calls.ask(
        "DELETE",
        ("traces", trace),
        query={"cascade": str(cascade).lower(), "dry_run": str(dry_run).lower()},
    )


def list_uploads(digest: str | None = None) -> Call[Page[dict[str, Any]]]:
    """Open resumable uploads, newest first."""
    return calls.ask("GET", ("uploads",), query={"digest": digest})


def get_upload(upload: str) -> Call[dict[str, Any]]:
    """One upload: its state, and how many bytes of it are safe."""
    return calls.ask("GET", ("uploads", upload))


def end_upload(upload: str) -> Call[None]:
    """Give an upload up."""
    return calls.done("DELETE", ("uploads", upload), headers=resumable.TUS)


def resume_batch(batch: str) -> Call[BatchDocument]:
    """Go on with what was cancelled."""
    return calls.ask("POST", ("batches", batch, "resume"), shape=BatchSummaryDocument)


def change_batch(batch: str, title: str) -> Call[BatchDocument]:
    """Another title of a batch."""
    return calls.ask("PATCH", ("batches", batch), body={"title": title}, shape=BatchSummaryDocument)


def retry_batch(
    batch: str, *, crashed: bool = False, trace: str | None = None, variant: str | None = None
) -> Call[BatchDocument]:
    """Run what failed again; with ``crashed`` also what crashed. Trace and variant by digest."""
    return calls.ask(
        "POST",
        ("batches", batch, "retry"),
        query={"crashed": str(crashed).lower(), "trace": trace, "variant": variant},
        shape=BatchSummaryDocument,
    )


def list_shares(batch: str) -> Call[Page[dict[str, Any]]]:
    """The links to a batch that were given out."""
    return calls.ask("GET", ("batches", batch, "shares"))


def revoke_share(share: str) -> Call[None]:
    """Make a link to a batch worthless."""
    return calls.done("DELETE", ("shares", share))


def read_mail(
    mail: bytes,
    *,
    name: str | None = None,
    base: str | None = None,
    version: int | None = None,
    mapping: Sequence[str] = (),
    partial: bool = False,
) -> Call[dict[str, Any]]:
    """A series as read from an mbox or patch files; with ``name`` it becomes a patch set.

    With ``partial`` it does so although mails are missing.
    """
    return calls.ask(
        "POST",
        ("patch_sets", "from_mail"),
        query={"name": name, "base": base, "version": version, "map": list(mapping)}
        | ({"partial": "true"} if partial else {}),
        content=mail,
    )


def get_retention() -> Call[dict[str, Any]]:
    """How long the project keeps traces."""
    return calls.ask("GET", ("retention",))


def set_retention(days: int | None) -> Call[dict[str, Any]]:
    """Keep traces so many days; None keeps them."""
    return calls.ask("PUT", ("retention",), body={"days": days})


def create_webhook(url: str, *, events: Sequence[str] | None = None) -> Call[dict[str, Any]]:
    """Be told of batches by a POST to ``url``; the secret is shown only here."""
    return calls.ask(
        "POST",
        ("webhooks",),
        body={"url": url} | ({} if events is None else {"events": list(events)}),
    )


def list_webhooks(
    *, limit: int | None = None, cursor: str | None = None
) -> Call[Page[dict[str, Any]]]:
    """One page of webhooks."""
    return calls.ask("GET", ("webhooks",), query={"limit": limit, "cursor": cursor})


def get_webhook(webhook: str) -> Call[dict[str, Any]]:
    """One webhook and its latest deliveries."""
    return calls.ask("GET", ("webhooks", webhook))


def delete_webhook(webhook: str) -> Call[None]:
    """Be told no more."""
    return calls.done("DELETE", ("webhooks", webhook))


def change_password(old: str, new: str) -> Call[None]:
    """Another password for the caller."""
    return calls.done("PUT", ("me", "password"), body={"old": old, "new": new})


def list_projects() -> Call[Page[dict[str, Any]]]:
    """The projects the caller may see."""
    return calls.ask("GET", ("projects",))


def create_project(name: str, **quotas: Any) -> Call[dict[str, Any]]:
    """A new project."""
    return calls.ask("POST", ("projects",), body={"name": name} | quotas)


def list_members() -> Call[Page[dict[str, Any]]]:
    """Who belongs to the project, and as what."""
    return calls.ask("GET", ("members",))


def set_member(user: str, role: str) -> Call[None]:
    """Give somebody a role in the project."""
    return calls.done("PUT", ("members", user), body={"role": role})


def remove_member(user: str) -> Call[None]:
    """Take somebody out of the project."""
    return calls.done("DELETE", ("members", user))


def list_users() -> Call[Page[dict[str, Any]]]:
    """Everybody who can log in."""
    return calls.ask("GET", ("users",))


def create_user(
    name: str, *, password: str | None = None, email: str | None = None, is_admin: bool = False
) -> Call[dict[str, Any]]:
    """Somebody new; a password that was made up is shown only here."""
    body = {"name": name, "password": password, "email": email, "is_admin": is_admin}
    return calls.ask("POST", ("users",), body=body)


def change_user(user: str, **fields: Any) -> Call[dict[str, Any]]:
    """Change password, email, is_enabled or is_admin of somebody."""
    return calls.ask("PATCH", ("users", user), body=fields)


def list_tokens() -> Call[Page[dict[str, Any]]]:
    """The tokens of the project, without their secrets."""
    return calls.ask("GET", ("tokens",))


def mint_token(
    name: str, *, scopes: Sequence[str], lifetime_days: int = 90
) -> Call[dict[str, Any]]:
    """A new token; its secret is shown only here."""
    return calls.ask(
        "POST",
        ("tokens",),
        body={"name": name, "scopes": list(scopes), "lifetime_days": lifetime_days},
    )


def revoke_token(token: str) -> Call[None]:
    """Make a token worthless."""
    return calls.done("DELETE", ("tokens", token))


def list_audit(
    *,
    limit: int | None = None,
    cursor: str | None = None,
    actor: str | None = None,
    action: str | None = None,
) -> Call[Page[dict[str, Any]]]:
    """One page of what was done in the project, newest first; by who and what begins so."""
    query = {"limit": limit, "cursor": cursor, "actor": actor, "action": action}
    return calls.ask("GET", ("audit",), query=query)


def get_operations() -> Call[dict[str, Any]]:
    """Workers, queues, storage and versions of the whole service; for administrators."""
    return calls.ask("GET", ("operations",))


def get_limits() -> Call[dict[str, Any]]:
    """What a shard of this project may take."""
    return calls.ask("GET", ("limits",))


def get_usage() -> Call[dict[str, Any]]:
    """How much the project has of what its quotas bound."""
    return calls.ask("GET", ("usage",))


def set_limits(shard_seconds: int | None, build_role: str | None = None) -> Call[dict[str, Any]]:
    """Set how long a shard of this project may take; None: as long as the service gives.

    ``build_role``: who has kernels built, ``nobody``, ``maintainer`` or ``contributor``; None: as
    before.
    """
    body: dict[str, Any] = {"shard_seconds": shard_seconds}
    return calls.ask(
        "PUT", ("limits",), body=body if build_role is None else {**body, "build_role": build_role}
    )


def get_thresholds() -> Call[dict[str, Any]]:
    """How much each counter may worsen in this project before a batch's verdict says so."""
    return calls.ask("GET", ("thresholds",))


def set_thresholds(limits: Mapping[str, Mapping[str, int | None]]) -> Call[dict[str, Any]]:
    """Replace all limits: counter → ``permille`` and ``absolute``, either may be left out."""
    return calls.ask("PUT", ("thresholds",), body={"limits": limits})
