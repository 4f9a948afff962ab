"""``python -m tests.engines.warming``: compiles all that tests load, so nothing compiles twice.

Tests that begin together, and processes they start, would each compile a kernel that none has
compiled yet.
"""

import tempfile
from pathlib import Path

from refault.audits import Level
from refault.catalogue import patch_set_from_text, resolve
from refault.engines.audit.auditing import audit
from refault.profile import gathering
from refault.replay.session import warm_up
from refault.verify import verify
from tests.fixtures.api import trace_bytes


def main():
    """Compile the engines, the accounts, the checks of audits, and what verifies a trace."""
    warm_up(("shadow", "walk", "kernel"))
    gathering.warm_up(("shadow",))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "small.rft")
        path.write_bytes(trace_bytes(event_count=1))
        for name in ("base", "walk"):
            audit(path, [resolve(patch_set_from_text(name))], Level("flush"))
        verify(path)


if __name__ == "__main__":
    main()
