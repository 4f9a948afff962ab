"""The words of a team; docs/GLOSSARY.md has the same sentences."""

from __future__ import annotations

from refault.glossary.entry import TEAM, Entry

ENTRIES = (
    Entry(
        "project",
        TEAM,
        "a team's traces, patch sets and batches, which no other project sees",
    ),
    Entry(
        "role",
        TEAM,
        "of a user in a project: a viewer reads, a contributor also uploads and submits, a "
        "maintainer does everything (KVM's role is below)",
    ),
    Entry(
        "scope",
        TEAM,
        "of a token: read, upload, submit, admin",
    ),
    Entry(
        "token",
        TEAM,
        "a secret for programs (rft_…): some scopes in one project",
    ),
    Entry(
        "login",
        TEAM,
        "a session of a user in a browser; its cookie is a secret (rfl_…)",
    ),
    Entry(
        "issuer",
        TEAM,
        "an OpenID provider that users log in with, where one is set up",
    ),
    Entry(
        "invitation",
        TEAM,
        "an e-mail address on an account: the user for whom the issuer verifies it is linked "
        "at the first login",
    ),
    Entry(
        "share link",
        TEAM,
        "an address that lets anybody read one batch (/s/rfs_…)",
    ),
    Entry(
        "audit log",
        TEAM,
        "the append-only log of who did what",
    ),
)
