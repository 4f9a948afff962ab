"""What a project is run by, from asynchronous Python; see :mod:`refault.client.team`."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, TypeVar

from refault.client import calls

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from refault.client.documents import (
        BatchDocument,
        EstimateDocument,
        HealthDocument,
        MeDocument,
        Page,
        ProblemTypeDocument,
        ReadinessDocument,
        SessionDocument,
        ShareDocument,
    )

AnswerT = TypeVar("AnswerT")


class AsyncTeam(abc.ABC):
    """Part of ``AsyncClient``, which sends what is described here."""

    @abc.abstractmethod
    async def _send(self, call: calls.Call[AnswerT]) -> AnswerT:
        """Ask the service, and read its answer."""

    async def change_trace(self, trace: str, **fields: Any) -> dict[str, Any]:
        """Change name, tags, note or guest of a trace."""
        call: calls.Call[dict[str, Any]] = calls.ask("PATCH", ("traces", trace), body=fields)
        return await self._send(call)

    async def delete_trace(
        self, trace: str, *, cascade: bool = False, dry_run: bool = False
    ) -> dict[str, Any]:
        """Delete a trace for good; what goes, or would go, with it."""
        call: calls.Call[dict[str, Any]] = calls.ask(
            "DELETE",
            ("traces", trace),
            query={"cascade": str(cascade).lower(), "dry_run": str(dry_run).lower()},
        )
        return await self._send(call)

    async def resume_batch(self, batch: str) -> BatchDocument:
        """Go on with what was cancelled."""
        call: calls.Call[BatchDocument] = calls.ask("POST", ("batches", batch, "resume"))
        return await self._send(call)

    async def retry_batch(self, batch: str, *, crashed: bool = False) -> BatchDocument:
        """Run what failed again; with ``crashed`` also what crashed."""
        call: calls.Call[BatchDocument] = calls.ask(
            "POST", ("batches", batch, "retry"), query={"crashed": str(crashed).lower()}
        )
        return await self._send(call)

    async def list_shares(self, batch: str) -> Page[dict[str, Any]]:
        """The links to a batch that were given out."""
        call: calls.Call[Page[dict[str, Any]]] = calls.ask("GET", ("batches", batch, "shares"))
        return await self._send(call)

    async def revoke_share(self, share: str) -> None:
        """Make a link to a batch worthless."""
        await self._send(calls.done("DELETE", ("shares", share)))

    async def read_mail(
        self,
        mail: bytes,
        *,
        name: str | None = None,
        base: str | None = None,
        version: int | None = None,
        mapping: Sequence[str] = (),
    ) -> dict[str, Any]:
        """A series as read from an mbox or patch files; with ``name`` it becomes a patch set."""
        call: calls.Call[dict[str, Any]] = calls.ask(
            "POST",
            ("patch_sets", "from_mail"),
            query={"name": name, "base": base, "version": version, "map": list(mapping)},
            content=mail,
        )
        return await self._send(call)

    async def get_retention(self) -> dict[str, Any]:
        """How long the project keeps traces."""
        call: calls.Call[dict[str, Any]] = calls.ask("GET", ("retention",))
        return await self._send(call)

    async def set_retention(self, days: int | None) -> dict[str, Any]:
        """Keep traces so many days; None keeps them."""
        call: calls.Call[dict[str, Any]] = calls.ask("PUT", ("retention",), body={"days": days})
        return await self._send(call)

    async def create_webhook(
        self, url: str, *, events: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Be told of batches by a POST to ``url``; the secret is shown only here."""
        call: calls.Call[dict[str, Any]] = calls.ask(
            "POST",
            ("webhooks",),
            body={"url": url} | ({} if events is None else {"events": list(events)}),
        )
        return await self._send(call)

    async def list_webhooks(
        self, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[dict[str, Any]]:
        """One page of webhooks."""
        call: calls.Call[Page[dict[str, Any]]] = calls.ask(
            "GET", ("webhooks",), query={"limit": limit, "cursor": cursor}
        )
        return await self._send(call)

    async def get_webhook(self, webhook: str) -> dict[str, Any]:
        """One webhook and its latest deliveries."""
        call: calls.Call[dict[str, Any]] = calls.ask("GET", ("webhooks", webhook))
        return await self._send(call)

    async def delete_webhook(self, webhook: str) -> None:
        """Be told no more."""
        await self._send(calls.done("DELETE", ("webhooks", webhook)))

    async def change_password(self, old: str, new: str) -> None:
        """Another password for the caller."""
        await self._send(calls.done("PUT", ("me", "password"), body={"old": old, "new": new}))

    async def list_projects(self) -> Page[dict[str, Any]]:
        """The projects the caller may see."""
        call: calls.Call[Page[dict[str, Any]]] = calls.ask("GET", ("projects",))
        return await self._send(call)

    async def create_project(self, name: str, **quotas: Any) -> dict[str, Any]:
        """A new project."""
        call: calls.Call[dict[str, Any]] = calls.ask(
            "POST", ("projects",), body={"name": name} | quotas
        )
        return await self._send(call)

    async def list_members(self) -> Page[dict[str, Any]]:
        """Who belongs to the project, and as what."""
        call: calls.Call[Page[dict[str, Any]]] = calls.ask("GET", ("members",))
        return await self._send(call)

    async def set_member(self, user: str, role: str) -> None:
        """Give somebody a role in the project."""
        await self._send(calls.done("PUT", ("members", user), body={"role": role}))

    async def remove_member(self, user: str) -> None:
        """Take somebody out of the project."""
        await self._send(calls.done("DELETE", ("members", user)))

    async def list_users(self) -> Page[dict[str, Any]]:
        """Everybody who can log in."""
        call: calls.Call[Page[dict[str, Any]]] = calls.ask("GET", ("users",))
        return await self._send(call)

    async def create_user(
        self, name: str, *, password: str | None = None, is_admin: bool = False
    ) -> dict[str, Any]:
        """Somebody new; a password that was made up is shown only here."""
        call: calls.Call[dict[str, Any]] = calls.ask(
            "POST", ("users",), body={"name": name, "password": password, "is_admin": is_admin}
        )
        return await self._send(call)

    async def change_user(self, user: str, **fields: Any) -> dict[str, Any]:
        """Change password, is_enabled or is_admin of somebody."""
        call: calls.Call[dict[str, Any]] = calls.ask("PATCH", ("users", user), body=fields)
        return await self._send(call)

    async def list_tokens(self) -> Page[dict[str, Any]]:
        """The tokens of the project, without their secrets."""
        call: calls.Call[Page[dict[str, Any]]] = calls.ask("GET", ("tokens",))
        return await self._send(call)

    async def mint_token(
        self, name: str, *, scopes: Sequence[str], lifetime_days: int | None = 90
    ) -> dict[str, Any]:
        """A new token; its secret is shown only here."""
        call: calls.Call[dict[str, Any]] = calls.ask(
            "POST",
            ("tokens",),
            body={"name": name, "scopes": list(scopes), "lifetime_days": lifetime_days},
        )
        return await self._send(call)

    async def revoke_token(self, token: str) -> None:
        """Make a token worthless."""
        await self._send(calls.done("DELETE", ("tokens", token)))

    async def list_audit(
        self, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[dict[str, Any]]:
        """One page of what was done in the project, newest first."""
        call: calls.Call[Page[dict[str, Any]]] = calls.ask(
            "GET", ("audit",), query={"limit": limit, "cursor": cursor}
        )
        return await self._send(call)

    async def get_me(self) -> MeDocument:
        """Who the caller is to the service: project, scopes, and so on."""
        return await self._send(calls.get_me())

    async def log_in(self, name: str, password: str) -> SessionDocument:
        """A login of a person, for the pages; programs use tokens."""
        return await self._send(calls.log_in(name, password))

    async def log_out(self) -> None:
        """Ends the login whose cookie is shown."""
        await self._send(calls.log_out())

    async def choose_project(self, project: str) -> MeDocument:
        """Looks at another project with the login whose cookie is shown."""
        return await self._send(calls.choose_project(project))

    async def share_batch(self, batch: str, *, lifetime_days: int | None = 90) -> ShareDocument:
        """A link by which anybody may read a batch."""
        return await self._send(calls.share_batch(batch, lifetime_days=lifetime_days))

    async def metrics(self) -> str:
        """The figures of the service in Prometheus' text form."""
        return await self._send(calls.metrics())

    async def list_problems(self) -> Page[ProblemTypeDocument]:
        """Every kind of problem there is."""
        return await self._send(calls.list_problems())

    async def get_problem(self, name: str) -> ProblemTypeDocument:
        """What the ``type`` of a problem means."""
        return await self._send(calls.get_problem(name))

    async def is_alive(self) -> HealthDocument:
        """Whether the API's process answers at all."""
        return await self._send(calls.is_alive())

    async def is_ready(self) -> ReadinessDocument:
        """Which parts of the service can be reached."""
        return await self._send(calls.is_ready())

    async def cancel_batch(self, batch: str) -> BatchDocument:
        """Ask what has not finished to stop."""
        return await self._send(calls.cancel_batch(batch))

    async def estimate_batch(
        self,
        traces: Sequence[str],
        patch_sets: Sequence[str],
        *,
        plan: calls.Plan = "each",
        axes: Mapping[str, Sequence[Any]] | None = None,
        trace_query: Mapping[str, Any] | None = None,
        priority: int | None = None,
        recompute: bool = False,
    ) -> EstimateDocument:
        """What such a batch would come to: cells, time, bytes. Nothing is written."""
        call = calls.submit_batch(
            traces,
            patch_sets,
            plan=plan,
            axes=axes,
            trace_query=trace_query,
            priority=priority,
            recompute=recompute,
        )
        return await self._send(calls.estimate_batch(call))

    async def get_thresholds(self) -> dict[str, Any]:
        """How much each counter may worsen in this project before a batch's verdict says so."""
        call: calls.Call[dict[str, Any]] = calls.ask("GET", ("thresholds",))
        return await self._send(call)

    async def set_thresholds(
        self, limits: Mapping[str, Mapping[str, int | None]]
    ) -> dict[str, Any]:
        """Replace all limits: counter → ``permille`` and ``absolute``, either may be left out."""
        call: calls.Call[dict[str, Any]] = calls.ask(
            "PUT", ("thresholds",), body={"limits": limits}
        )
        return await self._send(call)
