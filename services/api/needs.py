"""What a request needs, by its method and the noun in its address.

docs/ACCESS.md is the table of it, cell by cell. A route that nobody thought of here is refused to
whoever has no token, and its writes to whoever is no maintainer: what the rule does not know needs
the most.
"""

from __future__ import annotations

from typing import Literal

from db.models.accounts import SCOPES

ROOT = "/api/v1"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
Need = Literal["nothing", "login", "read", "upload", "submit", "admin"]

# The only routes that are answered to strangers. Problems explain refusals, also theirs; metrics
# look closer themselves.
_PUBLIC_PATHS = frozenset(
    {"/healthz", "/readyz", "/metrics", f"{ROOT}/openapi.json", f"{ROOT}/sessions/oidc"}
)
_PUBLIC_CALLS = frozenset(
    ("POST", f"{ROOT}/sessions{rest}") for rest in ("", "/oidc", "/oidc/finish")
)
_PUBLIC_NOUN = "problems"
# About the caller, whoever it is; its endpoints look closer.
_OWN = frozenset({"me", "sessions", "projects", "tokens"})
_UPLOADED = frozenset({"traces", "blobs", "uploads"})
_SUBMITTED = frozenset({"patch_sets", "batches", "runs", "comparisons", "shares"})
# What an ``upload`` token does without reading: it brings traces, goes on with its own uploads, and
# takes its own traces away. All else that writes answers with what is there, and so reads.
_BLIND = frozenset(
    {
        ("POST", "traces"), ("DELETE", "traces"), ("PUT", "blobs"),
        ("POST", "uploads"), ("PATCH", "uploads"), ("DELETE", "uploads"),
    }
)  # fmt: skip
# Not even to be read by everybody in the project: who does what, and secrets.
_GUARDED = frozenset({"audit", "users", "webhooks"})
# What can be called without a project: by who is a member of none yet, or chooses one.
WITHOUT_PROJECT = frozenset({"me", "sessions", "projects", "users"})


def need_of(method: str, path: str) -> Need:
    """What a caller must have for a request; unknown addresses need the most."""
    noun = noun_of(path)
    is_public = path in _PUBLIC_PATHS or noun == _PUBLIC_NOUN
    if (is_public and method in SAFE_METHODS) or (method, path) in _PUBLIC_CALLS:
        return "nothing"
    if noun in _OWN:
        return "login"
    if method in SAFE_METHODS:
        return "admin" if noun in _GUARDED else "read"
    if noun in _UPLOADED:
        return "upload"
    return "submit" if noun in _SUBMITTED else "admin"


def scopes_for(method: str, path: str) -> tuple[str, ...]:
    """Every scope a caller must have for a request; docs/ACCESS.md is the table of them."""
    need = need_of(method, path)
    if need not in SCOPES:
        return ()
    reads_too = need in {"upload", "submit"} and (method, noun_of(path)) not in _BLIND
    return ("read", need) if reads_too else (need,)


def noun_of(path: str) -> str:
    """``traces`` of ``/api/v1/traces/1``; empty outside of the API."""
    return path.removeprefix(f"{ROOT}/").partition("/")[0] if path.startswith(f"{ROOT}/") else ""
