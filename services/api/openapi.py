"""``python -m services.api.openapi``: the OpenAPI document, as in docs/openapi.json."""

import json
import sys
import tempfile
from pathlib import Path

from services.api.app import create_api
from services.api.settings import Settings


def document() -> str:
    """The document as text; connects to nothing."""
    with tempfile.TemporaryDirectory() as folder:
        api = create_api(
            Settings(
                database_url="postgresql://nobody@localhost/none",
                broker_url="redis://localhost:1/0",
                blobs=Path(folder),
                pages="",
            )
        )
        return json.dumps(api.openapi(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(document())
