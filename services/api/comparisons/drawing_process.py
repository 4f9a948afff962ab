"""Vega-Lite to SVG: the process that draws, run as a script by ``drawing.py``.

It reads specifications from standard input and writes pictures to standard output, each behind its
length. It knows nothing of the service, and may take so much memory and processor time and no
more: the library that draws is trusted with names and labels of strangers. Who does not hear from
it kills it.
"""

import os
import resource
import select
import struct
import sys

import vl_convert

CPU_SECONDS = 30  # for one drawing
# What is written to counts, not what is reserved: the engine inside reserves 64 GiB.
DATA_BYTES = 2 << 30
IDLE_SECONDS = 300

_LENGTH = struct.Struct("!Q")
_VEGA_LITE = "6.1"


def main() -> None:
    """Draws until nobody asks for more."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (DATA_BYTES, DATA_BYTES))
    # What the library prints must not come between pictures.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    asked = sys.stdin.buffer
    while select.select([asked], [], [], IDLE_SECONDS)[0]:
        header = asked.read(_LENGTH.size)
        if len(header) < _LENGTH.size:
            return
        spec = asked.read(*_LENGTH.unpack(header)).decode()
        used = resource.getrusage(resource.RUSAGE_SELF)
        ends_at = int(used.ru_utime + used.ru_stime) + CPU_SECONDS + 1
        resource.setrlimit(resource.RLIMIT_CPU, (ends_at, resource.RLIM_INFINITY))
        # The specification carries its data; nothing may be fetched for it.
        svg = vl_convert.vegalite_to_svg(spec, vl_version=_VEGA_LITE, allowed_base_urls=[]).encode()
        answers.write(_LENGTH.pack(len(svg)) + svg)
        answers.flush()


if __name__ == "__main__":
    main()
