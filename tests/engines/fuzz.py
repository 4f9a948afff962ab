"""``make fuzz``: random and hostile guests for some minutes, all readings side by side.

``python -m tests.engines.fuzz MINUTES SEED`` replays guests SEED, SEED + 1, … compiled, with
every index checked, and interpreted. It ends with exit code 1 at the first guest they
differ on, that crashes one of them, or that does not end; the guest's number is all that
is needed to see it again: ``python -m tests.engines.traffic NUMBER 1``.
"""

import os
import subprocess
import sys
import time

READINGS = {
    "compiled": {},
    "bounds-checked": {"REFAULT_BOUNDSCHECK": "1"},
    "interpreted": {"REFAULT_INTERPRETED": "1"},
}
BATCH = 300
BATCH_SECONDS_MAX = 900  # a batch takes half a minute interpreted; this is a hang


def replayed(reading, first, count):
    """The lines a reading came to, and how its process ended (None: not at all)."""
    command = [sys.executable, "-m", "tests.engines.traffic", str(first), str(count)]
    environment = {**os.environ, **READINGS[reading]}
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=BATCH_SECONDS_MAX,
        )
    except subprocess.TimeoutExpired as error:
        return (error.stdout or b"").decode().splitlines(), None
    sys.stderr.write(done.stderr)
    return done.stdout.splitlines(), done.returncode


def fault_of(first, count):
    """What is wrong with these guests, or nothing."""
    wanted = None
    for reading in READINGS:
        lines, code = replayed(reading, first, count)
        if code is None:
            return f"guest {first + len(lines)} does not end, {reading}"
        if code or len(lines) < count:
            return f"guest {first + len(lines)} crashes, {reading} (exit code {code})"
        wanted = wanted or lines
        for seed, (line, other) in enumerate(zip(wanted, lines, strict=True), first):
            if line != other:
                return f"guest {seed} comes to something else, {reading}"
    return None


def main(minutes, seed):
    end = time.monotonic() + 60 * minutes
    first = seed
    while time.monotonic() < end:
        fault = fault_of(first, BATCH)
        if fault:
            sys.stdout.write(f"{fault}\n")
            return 1
        first += BATCH
        sys.stdout.write(f"guests {seed} to {first - 1} agree, {', '.join(READINGS)}\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2])))
