"""The word ``role`` of a shadow page, by kernel: which bits it has is in no log.

::

    2.6.3x to 2.6.34   glevels 4 │ level 4 │ quadrant 2 │ pad 6 │ direct │ access 3 │ invalid │ …
    2.6.35 to 3.x      level 4 │ cr4_pae 1 │ quadrant 2 │ pad 6 │ direct │ access 3 │ invalid │ …
    later              level 4 │ cr4_pae 1 │ quadrant 2 │ direct │ access 3 │ invalid │ …
    5.0 to 5.17        bit 4 is gpte_is_8_bytes
    from 5.18          bit 4 is has_4_byte_gpte, the inverse
    MBEC series        access has 4 bits

After ``union kvm_mmu_page_role`` of those kernels. In which release the pad went was not looked up:
from 3.0 to 4.1 each word says it itself, since the bits of the pad are zero and those of a role
without it hold the access.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_PAD_BITS: Final = 0x1F80  # of 2.6.35 and later
_BEHIND_PAD: Final = 0xFE000


class Layout(NamedTuple):
    """The lowest bit of each part. ``pte_bit`` says whether guest entries have 8 bytes if set."""

    level: int
    quadrant: int
    direct: int
    access_bits: int = 3
    pte_bit: int | None = 4
    is_pte_bit_8: bool | None = True
    glevels: int | None = None


GLEVELS: Final = Layout(4, 8, 16, pte_bit=None, glevels=0)
PADDED: Final = Layout(0, 5, 13)
PACKED: Final = Layout(0, 5, 7)
INVERSE: Final = Layout(0, 5, 7, is_pte_bit_8=False)
#: Where the kernel is not known: from 5.0 on two kernels differ in the meaning of bit 4.
UNCERTAIN: Final = Layout(0, 5, 7, is_pte_bit_8=None)

Version = tuple[int, int, int]


def version_of(release: str) -> Version | None:
    """The numbers of a release such as ``6.6.0-rt`` or ``2.6.34``; None if there are none."""
    found = re.match(r"(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?", release)
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else None


class Roles:
    """Decodes role words of one log.

    ``print_format`` is how the kernel prints a page event, which in a trace.dat of a real kernel
    has the names of the bits in it, and then decides.
    """

    def __init__(self, release: str = "", print_format: str = "") -> None:
        version = version_of(release)
        self._by_word = version is None or (3, 0, 0) <= version < (4, 2, 0)
        self._may_have_glevels = version is None
        self._layout = _by_version(version)
        self._by_print_format(print_format)

    def _by_print_format(self, text: str) -> None:
        for name, layout in (
            ("glevels", GLEVELS),
            ("gpte_is_8_bytes", PACKED),
            ("has_4_byte_gpte", INVERSE),
        ):
            if name in text:
                self._layout, self._by_word = layout, False
        if '"----"' in text:
            self._layout = self._layout._replace(access_bits=4)

    def decode(self, word: int) -> dict[str, int]:
        """The parts of a word by name; ``access`` is W 2, U 4 and X 1.

        ``pte_bytes``, the size of the guest's entries, is there only where the kernel is known.
        """
        layout = self._layout
        if self._by_word and not word & _PAD_BITS and word & _BEHIND_PAD:
            layout = GLEVELS if self._may_have_glevels and not word & 0xFC00 else PADDED
        access = layout.direct + 1
        fields = {
            "level": word >> layout.level & 15,
            "quadrant": word >> layout.quadrant & 3,
            "direct": word >> layout.direct & 1,
            "access": word >> access & ((1 << layout.access_bits) - 1),
            "invalid": word >> (access + layout.access_bits) & 1,
        }
        if layout.glevels is not None:
            fields["pte_bytes"] = 4 if word >> layout.glevels & 15 == 2 else 8
        elif layout.is_pte_bit_8 is not None and layout.pte_bit is not None:
            is_8 = bool(word >> layout.pte_bit & 1) is layout.is_pte_bit_8
            fields["pte_bytes"] = 8 if is_8 else 4
        return fields


def _by_version(version: Version | None) -> Layout:
    if version is None:
        return UNCERTAIN
    if version < (2, 6, 35):
        return GLEVELS
    if version < (3, 0, 0):
        return PADDED
    return PACKED if version < (5, 18, 0) else INVERSE
