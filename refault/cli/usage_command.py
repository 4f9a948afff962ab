"""``refault usage``: what a project has of what its quotas bound."""

from __future__ import annotations

from refault.cli import tables
from refault.cli.service import AsJson, WithTimeout, WithToken, WithUrl, connect
from refault.cli.terminal import print_json
from refault.client.connection import TIMEOUT_S

_TITLES = {"bytes": "bytes", "traces": "traces", "queued_runs": "runs that wait"}


def usage(
    *,
    as_json: AsJson = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = TIMEOUT_S,
) -> None:
    """Show how much the project has of what its quotas bound.

    Example: refault usage --json
    """
    with connect(url, token, timeout) as client:
        found = client.get_usage()
    if as_json:
        print_json(found)
        return
    tables.show(
        ("of", "used", "unfinished", "quota"),
        [
            (
                title,
                f"{found[name]['used']:,}",
                f"{found[name]['unfinished']:,}",
                "none" if found[name]["quota"] is None else f"{found[name]['quota']:,}",
            )
            for name, title in _TITLES.items()
        ],
        right="used unfinished quota",
    )
