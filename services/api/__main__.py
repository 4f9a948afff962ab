"""``python -m services.api``: serve the API and its pages."""

import logging.config
import sys

from granian import Granian
from granian.constants import Interfaces
from granian.http import HTTP1Settings
from pydantic import ValidationError

from services.api.settings import Settings
from services.shared import logs

STOP_SECONDS = 3
# Buffer of a connection for body bytes not read yet. The server's default of 400 KiB makes uploads
# no faster.
RECEIVED_BYTES = 192 * 1024
# How long the head of a request may take; of bodies see bodies.py.
HEADER_MILLISECONDS = 10_000


def main() -> int:
    """Serve until a signal; 2 if the environment does not say what to serve."""
    try:
        settings = Settings()
    except ValidationError as error:
        print("the API cannot start; its environment is incomplete:", file=sys.stderr)
        for entry in error.errors():
            name = "_".join(str(part) for part in entry["loc"]).upper()
            print(f"  REFAULT_{name}: {entry['msg']}", file=sys.stderr)
        return 2
    log = logs.configuration("api", settings.log_level)
    logging.config.dictConfig(log)
    server = Granian(
        "services.api.app:create_app",
        factory=True,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI,
        websockets=False,
        http1_settings=HTTP1Settings(
            max_buffer_size=RECEIVED_BYTES, header_read_timeout=HEADER_MILLISECONDS
        ),
        # Read by every process it starts.
        log_dictconfig=log,
        # Event streams have no end, so a shutdown does not wait for them.
        workers_kill_timeout=STOP_SECONDS,
    )
    server.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
