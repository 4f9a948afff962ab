# Generated from refault/client/asynchronous/team.py by `make client`: change it there.
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


class Team(abc.ABC):
    """Part of a client, which sends what is described here."""

    @abc.abstractmethod
    def _send(self, call: calls.Call[AnswerT]) -> AnswerT:
        """Ask the service, and read its answer."""

    def change_trace(self, trace: str, **fields: Any) -> dict[str, Any]:
        """Change name, tags, note or guest of a trace."""
        return self._send(team_calls.change_trace(trace, **fields))

    def delete_trace(
        self, trace: str, *, cascade: bool = False, dry_run: bool = False
    ) -> dict[str, Any]:
        """Delete a trace for good; what goes, or would go, with it."""
        return self._send(team_calls.delete_trace(trace, cascade=cascade, dry_run=dry_run))

    def list_uploads(self, digest: str | None = None) -> Page[dict[str, Any]]:
        """Open resumable uploads; ``upload_trace`` resumes its own by itself."""
        return self._send(team_calls.list_uploads(digest))

    def get_upload(self, upload: str) -> dict[str, Any]:
        """One upload: its state, and how many bytes of it are safe."""
        return self._send(team_calls.get_upload(upload))

    def end_upload(self, upload: str) -> None:
        """Give an upload up; a trace that came of it stays."""
        self._send(team_calls.end_upload(upload))

    def resume_batch(self, batch: str) -> BatchDocument:
        """Go on with what was cancelled."""
        return self._send(team_calls.resume_batch(batch))

    def change_batch(self, batch: str, title: str) -> BatchDocument:
        """Call a batch of one's own by another title; empty: by its patch sets."""
        return self._send(team_calls.change_batch(batch, title))

    def retry_batch(
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
        return self._send(call)

    def list_shares(self, batch: str) -> Page[dict[str, Any]]:
        """The links to a batch that were given out."""
        return self._send(team_calls.list_shares(batch))

    def revoke_share(self, share: str) -> None:
        """Make a link to a batch worthless."""
        self._send(team_calls.revoke_share(share))

    def read_mail(
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
        return self._send(
            team_calls.read_mail(
                mail, name=name, base=base, version=version, mapping=mapping, partial=partial
            )
        )

    def get_retention(self) -> dict[str, Any]:
        """How long the project keeps traces."""
        return self._send(team_calls.get_retention())

    def set_retention(self, days: int | None) -> dict[str, Any]:
        """Keep traces so many days; None keeps them."""
        return self._send(team_calls.set_retention(days))

    def create_webhook(self, url: str, *, events: Sequence[str] | None = None) -> dict[str, Any]:
        """Be told of batches by a POST to ``url``; the secret is shown only here."""
        return self._send(team_calls.create_webhook(url, events=events))

    def list_webhooks(
        self, *, limit: int | None = None, cursor: str | None = None
    ) -> Page[dict[str, Any]]:
        """One page of webhooks."""
        return self._send(team_calls.list_webhooks(limit=limit, cursor=cursor))

    def get_webhook(self, webhook: str) -> dict[str, Any]:
        """One webhook and its latest deliveries."""
        return self._send(team_calls.get_webhook(webhook))

    def delete_webhook(self, webhook: str) -> None:
        """Be told no more."""
        self._send(team_calls.delete_webhook(webhook))

    def change_password(self, old: str, new: str) -> None:
        """Another password for the caller."""
        self._send(team_calls.change_password(old, new))

    def list_projects(self) -> Page[dict[str, Any]]:
        """The projects the caller may see."""
        return self._send(team_calls.list_projects())

    def create_project(self, name: str, **quotas: Any) -> dict[str, Any]:
        """A new project."""
        return self._send(team_calls.create_project(name, **quotas))

    def list_members(self) -> Page[dict[str, Any]]:
        """Who belongs to the project, and as what."""
        return self._send(team_calls.list_members())

    def set_member(self, user: str, role: str) -> None:
        """Give somebody a role in the project."""
        self._send(team_calls.set_member(user, role))

    def remove_member(self, user: str) -> None:
        """Take somebody out of the project."""
        self._send(team_calls.remove_member(user))

    def list_users(self) -> Page[dict[str, Any]]:
        """Everybody who can log in."""
        return self._send(team_calls.list_users())

    def create_user(
        self,
        name: str,
        *,
        password: str | None = None,
        email: str | None = None,
        is_admin: bool = False,
    ) -> dict[str, Any]:
        """Somebody new; a password that was made up is shown only here."""
        call = team_calls.create_user(name, password=password, email=email, is_admin=is_admin)
        return self._send(call)

    def change_user(self, user: str, **fields: Any) -> dict[str, Any]:
        """Change password, email, is_enabled or is_admin of somebody."""
        return self._send(team_calls.change_user(user, **fields))

    def list_tokens(self) -> Page[dict[str, Any]]:
        """The tokens of the project, without their secrets."""
        return self._send(team_calls.list_tokens())

    def mint_token(
        self, name: str, *, scopes: Sequence[str], lifetime_days: int = 90
    ) -> dict[str, Any]:
        """A new token; its secret is shown only here."""
        return self._send(team_calls.mint_token(name, scopes=scopes, lifetime_days=lifetime_days))

    def revoke_token(self, token: str) -> None:
        """Make a token worthless."""
        self._send(team_calls.revoke_token(token))

    def list_audit(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        actor: str | None = None,
        action: str | None = None,
    ) -> Page[dict[str, Any]]:
        """One page of what was done in the project, newest first; by who and what begins so."""
        call = team_calls.list_audit(limit=limit, cursor=cursor, actor=actor, action=action)
        return self._send(call)

    def get_operations(self) -> dict[str, Any]:
        """Workers, queues, storage and versions of the whole service; for administrators."""
        return self._send(team_calls.get_operations())

    def get_me(self) -> MeDocument:
        """Who the caller is to the service: project, scopes, and so on."""
        return self._send(calls.get_me())

    def log_in(self, name: str, password: str, *, device: str | None = None) -> SessionDocument:
        """A login of a person, for the pages; ``device`` is what an earlier one answered."""
        return self._send(calls.log_in(name, password, device=device))

    def get_oidc(self) -> dict[str, Any]:
        """By which issuer people may log in, if by any."""
        return self._send(calls.get_oidc())

    def begin_oidc(self, target: str = "/") -> dict[str, Any]:
        """Begin a login by the issuer: where a browser goes, and the secret it keeps."""
        return self._send(calls.begin_oidc(target))

    def finish_oidc(self, secret: str, **answer: str) -> dict[str, Any]:
        """Finish a login with what the issuer sent a browser back with."""
        return self._send(calls.finish_oidc(secret, **answer))

    def log_out(self) -> None:
        """Ends the login whose cookie is shown."""
        self._send(calls.log_out())

    def choose_project(self, project: str) -> MeDocument:
        """Looks at another project with the login whose cookie is shown."""
        return self._send(calls.choose_project(project))

    def share_batch(self, batch: str, *, lifetime_days: int = 90) -> ShareDocument:
        """A link by which anybody may read a batch."""
        return self._send(calls.share_batch(batch, lifetime_days=lifetime_days))

    def metrics(self) -> str:
        """The figures of the service in Prometheus' text form."""
        return self._send(calls.metrics())

    def list_problems(self) -> Page[ProblemTypeDocument]:
        """Every kind of problem there is."""
        return self._send(calls.list_problems())

    def get_problem(self, name: str) -> ProblemTypeDocument:
        """What the ``type`` of a problem means."""
        return self._send(calls.get_problem(name))

    def is_alive(self) -> HealthDocument:
        """Whether the API's process answers at all."""
        return self._send(calls.is_alive())

    def is_ready(self) -> ReadinessDocument:
        """Which parts of the service can be reached."""
        return self._send(calls.is_ready())

    def cancel_batch(self, batch: str) -> BatchDocument:
        """Ask what has not finished to stop."""
        return self._send(calls.cancel_batch(batch))

    def estimate_batch(
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
        return self._send(calls.estimate_batch(call))

    def get_limits(self) -> dict[str, Any]:
        """What a shard of this project may take."""
        return self._send(team_calls.get_limits())

    def get_usage(self) -> dict[str, Any]:
        """How much this project has of what its quotas bound: bytes, traces, queued runs."""
        return self._send(team_calls.get_usage())

    def set_limits(
        self, shard_seconds: int | None, build_role: str | None = None
    ) -> dict[str, Any]:
        """Set how long a shard of this project may take; None: as long as the service gives.

        ``build_role``: who has kernels built; None: as before.
        """
        return self._send(team_calls.set_limits(shard_seconds, build_role))

    def get_thresholds(self) -> dict[str, Any]:
        """How much each counter may worsen in this project before a batch's verdict says so."""
        return self._send(team_calls.get_thresholds())

    def set_thresholds(self, limits: Mapping[str, Mapping[str, int | None]]) -> dict[str, Any]:
        """Replace all limits: counter → ``permille`` and ``absolute``, either may be left out."""
        return self._send(team_calls.set_thresholds(limits))
