"""The page of the service's operation, for administrators."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from refault.client.starting import starting_text
from services.dashboard.formats import counted
from services.dashboard.pages import Pages

_TALLIES = {
    "leases_expired": "Shards taken from a worker without a heartbeat",
    "results_dropped": "Results dropped because the shard had another worker by then",
    "messages_dropped": "Messages that found no queued shard",
    "uploads": "Stored traces",
    "uploaded_bytes": "Bytes of stored traces",
    "integrity_alarms": "Results that had other bytes when computed again",
}


class OperationsPages:
    """The page ``/operations``."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def routes(self) -> list[Route]:
        """Where it is."""
        return [Route("/operations", self.one)]

    async def one(self, request: Request) -> Response:
        """Workers, queues, storage, versions."""
        async with self._pages.client(request) as client:
            me = await client.get_me()
            found = await client.get_operations()
        alive = [worker for worker in found["workers"] if worker["is_alive"]]
        return await self._pages.page(
            "operations.html",
            me=me,
            now=found,
            troubles=_troubles(found, len(alive)),
            starting=[_start(worker) for worker in found["starting"]],
            workers=[worker | {"state": _state(worker)} for worker in found["workers"]],
            tallies=[
                {"text": text, "number": found["tallies"][name]}
                for name, text in _TALLIES.items()
                if name in found["tallies"]
            ],
        )


def _state(worker: Mapping[str, Any]) -> Mapping[str, str]:
    if worker["is_alive"]:
        return {"sign": "✓", "tone": "same", "state": "alive"}
    if worker["ended_in_order"]:
        return {"sign": "–", "tone": "missing", "state": "stopped"}
    return {"sign": "✕", "tone": "alarm", "state": "died"}


def _start(worker: Mapping[str, Any]) -> dict[str, Any]:
    """A worker that is starting, as the page shows it."""
    total = worker["kernels_total"]
    return {**worker, "text": starting_text([worker]), "max": total or 1}


def _troubles(found: Mapping[str, Any], alive_count: int) -> list[str]:
    """What an operator has to look after, worst first."""
    told = [
        f"{name}: {str(part['detail']).rstrip('.')}. {part['remedy']}."
        for name, part in found["parts"].items()
        if part["state"] != "ok"
    ]
    queues = {queue["kind"]: queue for queue in found["queues"]}
    waiting = sum(queue["queued"] for queue in found["queues"])
    if not alive_count and found["starting"]:
        told.append(f"No worker is ready: {starting_text(found['starting'])}.")
    elif not alive_count:
        told.append(f"No worker is alive, and {counted(waiting, 'task')} waiting.")
    builders = any(worker["is_alive"] and worker["can_build"] for worker in found["workers"])
    if queues["builds"]["queued"] and not builders:
        told.append("Builds of kernels wait, and no worker builds any.")
    overdue = sum(queue["overdue"] for queue in found["queues"])
    if overdue:
        told.append(f"{counted(overdue, 'task')} running behind the end of the lease.")
    if found["tallies"].get("integrity_alarms"):
        told.append("Integrity alarms were raised: docs/howto/operate.md says what to do.")
    return told
