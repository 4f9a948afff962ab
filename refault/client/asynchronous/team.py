"""What a project is run by: members, tokens, webhooks, retention; what changes traces."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, TypeVar

from refault.client import calls, team_calls

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
    """Part of a client, which sends what is described here."""

    @abc.abstractmethod
    async def _send(self, call: calls.Call[AnswerT]) -> AnswerT:
        """Ask the service, and read its answer."""

    async def change_trace(self, trace: str, **fields: Any) -> dict[str, Any]:
        """Change name, tags, note or guest of a trace."""
        return await self._send(team_calls.change_trace(trace, **fields))

    async def delete_trace(
        self, trace: str, *, cascade: bool = False, dry_run: bool = False
    ) -> dict[str, Any]:
        """Delete a trace for good; what goes, or would go, with it."""
        return await self._send(team_calls.delete_trace(trace, cascade=cascade, dry_run=dry_run))

    async def list_uploads(self, digest: str | None = None) -> Page[dict[str, Any]]:
        """Open resumable uploads; ``upload_trace`` resumes its own by itself."""
        return await self._send(team_calls.list_uploads(digest))

    async def get_upload(self, upload: str) -> dict[str, Any]:
        """One upload: its state, and how many bytes of it are safe."""
        return await self._send(team_calls.get_upload(upload))

    async def end_upload(self, upload: str) -> None:
        """Give an upload up; a trace that came of it stays."""
        await self._send(team_calls.end_upload(upload))

    async def resume_batch(self, batch: str) -> BatchDocument:
        """Go on with what was cancelled."""
        return await self._send(team_calls.resume_batch(batch))

    async def change_batch(self, batch: str, title: str) -> BatchDocument:
        """Call a batch of one's own by another title; empty: by its patch sets."""
        return await self._send(team_calls.change_batch(batch, title))

    async def retry_batch(
        self,
        batch: str,
        *,
        crashed: bool = False,
        trace: str | None = None,
        variant: str | None = None,
    ) -> BatchDocument:
        """Run what failed again; with ``crashed`` also what crashed.

        ``trace`` and ``variant``, digests, leave one cell, one row or one column of it.
        """
        call = team_calls.retry_batch(batch, crashed=crashed, trace=trace, variant=variant)
        return await self._send(call)

    async def list_shares(self, batch: str) -> Page[dict[str, Any]]:
        """The links to a batch that were given out."""
        return await self._send(team_calls.list_shares(batch))

    async def revoke_share(self, share: str) -> None:
        """Make a link to a batch worthless."""
        await self._send(team_calls.revoke_share(share))

    async def read_mail(
        self,
        mail: bytes,
        *,
        name: str | None = None,
        base: str | None = None,
        version: int | None = None,
        mapping: Sequence[str] = (),
        partial: bool = False,
    ) -> dict[str, Any]:
        """A series as read from an mbox or patch files; with ``name`` it becomes a patch set."""
        return await self._send(
            team_calls.read_mail(
                mail, name=name, base=base, version=version, mapping=mapping, partial=partial
            )
        )

    async def get_retention(self) -> dict[str, Any]:
        """How long the project keeps traces."""
        return await self._send(team_calls.get_retention())

    async def set_retention(self, days: int | None) -> dict[str, Any]:
        """Keep traces so many days; None keeps them."""
        return await self._send(team_calls.set_retention(days))

    async def create_webhook(
        self, url: str, *, events: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Be told of batches by a POST to ``url``; the secret is shown only here."""
        return await self._send(team_calls.create_webhook(url, events=events))

    async def list_webhooks(
        self, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[dict[str, Any]]:
        """One page of webhooks."""
        return await self._send(team_calls.list_webhooks(limit=limit, cursor=cursor))

    async def get_webhook(self, webhook: str) -> dict[str, Any]:
        """One webhook and its latest deliveries."""
        return await self._send(team_calls.get_webhook(webhook))

    async def delete_webhook(self, webhook: str) -> None:
        """Be told no more."""
        await self._send(team_calls.delete_webhook(webhook))

    async def change_password(self, old: str, new: str) -> None:
        """Another password for the caller."""
        await self._send(team_calls.change_password(old, new))

    async def list_projects(self) -> Page[dict[str, Any]]:
        """The projects the caller may see."""
        return await self._send(team_calls.list_projects())

    async def create_project(self, name: str, **quotas: Any) -> dict[str, Any]:
        """A new project."""
        return await self._send(team_calls.create_project(name, **quotas))

    async def list_members(self) -> Page[dict[str, Any]]:
        """Who belongs to the project, and as what."""
        return await self._send(team_calls.list_members())

    async def set_member(self, user: str, role: str) -> None:
        """Give somebody a role in the project."""
        await self._send(team_calls.set_member(user, role))

    async def remove_member(self, user: str) -> None:
        """Take somebody out of the project."""
        await self._send(team_calls.remove_member(user))

    async def list_users(self) -> Page[dict[str, Any]]:
        """Everybody who can log in."""
        return await self._send(team_calls.list_users())

    async def create_user(
        self,
        name: str,
        *,
        password: str | None = None,
        email: str | None = None,
        is_admin: bool = False,
    ) -> dict[str, Any]:
        """Somebody new; a password that was made up is shown only here."""
        call = team_calls.create_user(name, password=password, email=email, is_admin=is_admin)
        return await self._send(call)

    async def change_user(self, user: str, **fields: Any) -> dict[str, Any]:
        """Change password, email, is_enabled or is_admin of somebody."""
        return await self._send(team_calls.change_user(user, **fields))

    async def list_tokens(self) -> Page[dict[str, Any]]:
        """The tokens of the project, without their secrets."""
        return await self._send(team_calls.list_tokens())

    async def mint_token(
        self, name: str, *, scopes: Sequence[str], lifetime_days: int = 90
    ) -> dict[str, Any]:
        """A new token; its secret is shown only here."""
        return await self._send(
            team_calls.mint_token(name, scopes=scopes, lifetime_days=lifetime_days)
        )

    async def revoke_token(self, token: str) -> None:
        """Make a token worthless."""
        await self._send(team_calls.revoke_token(token))

    async def list_audit(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        actor: str | None = None,
        action: str | None = None,
    ) -> Page[dict[str, Any]]:
        """One page of what was done in the project, newest first; by who and what begins so."""
        call = team_calls.list_audit(limit=limit, cursor=cursor, actor=actor, action=action)
        return await self._send(call)

    async def get_operations(self) -> dict[str, Any]:
        """Workers, queues, storage and versions of the whole service; for administrators."""
        return await self._send(team_calls.get_operations())

    async def get_me(self) -> MeDocument:
        """Who the caller is to the service: project, scopes, and so on."""
        return await self._send(calls.get_me())

    async def log_in(
        self, name: str, password: str, *, device: str | None = None
    ) -> SessionDocument:
        """A login of a person, for the pages; ``device`` is what an earlier one answered."""
        return await self._send(calls.log_in(name, password, device=device))

    async def get_oidc(self) -> dict[str, Any]:
        """By which issuer people may log in, if by any."""
        return await self._send(calls.get_oidc())

    async def begin_oidc(self, target: str = "/") -> dict[str, Any]:
        """Begin a login by the issuer: where a browser goes, and the secret it keeps."""
        return await self._send(calls.begin_oidc(target))

    async def finish_oidc(self, secret: str, **answer: str) -> dict[str, Any]:
        """Finish a login with what the issuer sent a browser back with."""
        return await self._send(calls.finish_oidc(secret, **answer))

    async def log_out(self) -> None:
        """Ends the login whose cookie is shown."""
        await self._send(calls.log_out())

    async def choose_project(self, project: str) -> MeDocument:
        """Looks at another project with the login whose cookie is shown."""
        return await self._send(calls.choose_project(project))

    async def share_batch(self, batch: str, *, lifetime_days: int = 90) -> ShareDocument:
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

    async def get_limits(self) -> dict[str, Any]:
        """What a shard of this project may take."""
        return await self._send(team_calls.get_limits())

    async def get_usage(self) -> dict[str, Any]:
        """How much this project has of what its quotas bound: bytes, traces, queued runs."""
        return await self._send(team_calls.get_usage())

    async def set_limits(
        self, shard_seconds: int | None, build_role: str | None = None
    ) -> dict[str, Any]:
        """Set how long a shard of this project may take; None: as long as the service gives.

        ``build_role``: who has kernels built; None: as before.
        """
        return await self._send(team_calls.set_limits(shard_seconds, build_role))

    async def get_thresholds(self) -> dict[str, Any]:
        """How much each counter may worsen in this project before a batch's verdict says so."""
        return await self._send(team_calls.get_thresholds())

    async def set_thresholds(
        self, limits: Mapping[str, Mapping[str, int | None]]
    ) -> dict[str, Any]:
        """Replace all limits: counter → ``permille`` and ``absolute``, either may be left out."""
        return await self._send(team_calls.set_thresholds(limits))
