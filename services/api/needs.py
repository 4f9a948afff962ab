"""The scopes a request needs, by its method and the noun in its address.

docs/ACCESS.md is the table of all routes. A route that no rule here names needs ``read``, and
``admin`` if it writes.
"""

from __future__ import annotations

from typing import Literal

from db.models.accounts import SCOPES

ROOT = "/api/v1"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
Need = Literal["nothing", "login", "read", "upload", "submit", "build", "admin"]

# The only routes without authentication. Problems explain errors, also those of strangers, and the
# glossary words of the program; metrics check the caller themselves.
_PUBLIC_PATHS = frozenset(
    {"/healthz", "/readyz", "/metrics", f"{ROOT}/openapi.json", f"{ROOT}/sessions/oidc"}
)
_PUBLIC_CALLS = frozenset(
    ("POST", f"{ROOT}/sessions{rest}") for rest in ("", "/oidc", "/oidc/finish")
)
_PUBLIC_NOUNS = frozenset({"problems", "glossary"})
# About the caller itself; the endpoints check more.
_OWN = frozenset({"me", "sessions", "projects", "tokens"})
_UPLOADED = frozenset({"traces", "blobs", "uploads"})
_SUBMITTED = frozenset(
    {"patch_sets", "batches", "bundles", "notes", "runs", "comparisons", "shares", "questions"}
)
_BUILT = frozenset({"kernels"})
# What an ``upload`` token does without ``read``: upload traces, resume its own uploads, and delete
# its own traces. All other writes answer with stored data, and so need ``read``.
_BLIND = frozenset(
    {
        ("POST", "traces"), ("DELETE", "traces"), ("PUT", "blobs"),
        ("POST", "uploads"), ("PATCH", "uploads"), ("DELETE", "uploads"),
    }
)  # fmt: skip
# Reads that need more than ``read``: the audit, and secrets.
_GUARDED = frozenset({"audit", "operations", "users", "webhooks"})
# Callable without a project: for users who have none yet, or choose one.
WITHOUT_PROJECT = frozenset({"me", "operations", "sessions", "projects", "users"})


def need_of(method: str, path: str) -> Need:
    """The need of a request; unknown writes need ``admin``."""
    noun = noun_of(path)
    is_public = path in _PUBLIC_PATHS or noun in _PUBLIC_NOUNS
    if (is_public and method in SAFE_METHODS) or (method, path) in _PUBLIC_CALLS:
        return "nothing"
    if noun in _OWN:
        return "login"
    if method in SAFE_METHODS:
        return "admin" if noun in _GUARDED else "read"
    if noun in _UPLOADED:
        return "upload"
    if noun in _BUILT:
        return "build"
    return "submit" if noun in _SUBMITTED else "admin"


def scopes_for(method: str, path: str) -> tuple[str, ...]:
    """Every scope a request needs; docs/ACCESS.md is the table."""
    need = need_of(method, path)
    if need not in SCOPES:
        return ()
    reads_too = need in {"upload", "submit", "build"} and (method, noun_of(path)) not in _BLIND
    return ("read", need) if reads_too else (need,)


def noun_of(path: str) -> str:
    """``traces`` of ``/api/v1/traces/1``; empty outside of the API."""
    return path.removeprefix(f"{ROOT}/").partition("/")[0] if path.startswith(f"{ROOT}/") else ""
