"""Captures the guests of demo/corpus.json: python -m tools.corpus FOLDER [NAME]...

Each recipe there is options of ``refault capture``. Traces go to FOLDER; what came of each
(versions, digests, sizes, how many witnesses agree) is written beside its recipe; traces of at most
1 MB are copied to ``demo/corpus``, which the repository keeps. Two captures of one recipe are alike
and not equal, so a digest names the one that was made. Kernels and busybox are those of
``make guests``.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LIST = ROOT / "demo" / "corpus.json"
SHIPPED = ROOT / "demo" / "corpus"
GUESTS = ROOT / ".cache" / "guests"
SHIPPED_BYTES_MAX = 1_000_000
_KEPT = ("digest", "size_bytes", "event_count", "instruction_count", "guest_mode", "vcpu_count")
_FACTS = ("kernel_release", "kernel_sha256", "initrd_sha256", "kernel_command_line", "qemu")


def main() -> None:
    """Capture what is asked for, or all; exit code 1 if one could not be."""
    folder, *names = sys.argv[1:]
    body = json.loads(LIST.read_text(encoding="utf-8"))
    failed = []
    for guest in body["guests"]:
        if names and guest["name"] not in names:
            continue
        print(f"{guest['name']}: {guest['what']}", flush=True)
        if reason := keep(guest, Path(folder)):
            print(f"  {reason}", flush=True)
            failed.append(guest["name"])
        LIST.write_text(json.dumps(body, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if failed:
        sys.exit(f"not captured: {', '.join(failed)}")


def keep(guest: dict[str, Any], folder: Path) -> str:
    """Capture one guest and write down what it is; answers why it could not be."""
    place = GUESTS / guest["architecture"]
    kernels = sorted(place.glob(f"boot/vmlinuz-*{guest['kernel']}"))
    if not kernels:
        return f"no kernel in {place}: make guests"
    busybox = place / "bin" / "busybox"
    command = [
        *(sys.executable, "-m", "refault.cli.main", "capture", "--json", "--out", str(folder)),
        *("--name", guest["name"], "--kernel", str(kernels[-1]), "--busybox", str(busybox)),
        *guest["options"],
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        return done.stderr.strip()
    told = json.loads(done.stdout)
    witnesses = told["verification"]
    facts = told["provenance"]
    guest["captured"] = {
        **{name: told[name] for name in _KEPT},
        **{name: facts[name] for name in _FACTS if name in facts},
        "witnesses": sum(each["asked"] for each in witnesses["witnesses"].values()),
        "agreed": sum(each["agreed"] for each in witnesses["witnesses"].values()),
        "ships": told["size_bytes"] <= SHIPPED_BYTES_MAX,
    }
    shipped = SHIPPED / f"{guest['name']}.rft"
    shipped.unlink(missing_ok=True)
    if guest["captured"]["ships"]:
        SHIPPED.mkdir(exist_ok=True)
        shutil.copyfile(told["trace"], shipped)
    return ""


if __name__ == "__main__":
    main()
