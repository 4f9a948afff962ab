"""The mails of the thread that the report cites: who wrote what, and when.

The thread is ``[PATCH 1/6]`` to ``[PATCH 6/6]`` of 12 April 2010 on the kvm mailing list, with its
replies. Times are those its archive shows.
"""

from __future__ import annotations

from typing import NamedTuple

_MONTH = "April 2010"


class Mail(NamedTuple):
    """One mail: its author, the day of April 2010, and the time."""

    author: str
    day: int
    time: str

    @property
    def cited(self) -> str:
        """``Avi Kivity, 12 April 2010, 1:24 am``."""
        return f"{self.author}, {self.day} {_MONTH}, {self.time}"

    def to_dict(self) -> dict[str, str]:
        """The mail as JSON."""
        return {
            "author": self.author,
            "date": f"2010-04-{self.day:02d}",
            "time": self.time,
        }


def xiao(time: str, day: int = 12) -> Mail:
    """A mail of Xiao Guangrong, who posted the series."""
    return Mail("Xiao Guangrong", day, time)


def avi(time: str, day: int = 12) -> Mail:
    """A mail of Avi Kivity, maintainer of KVM."""
    return Mail("Avi Kivity", day, time)


def marcelo(time: str, day: int = 12) -> Mail:
    """A mail of Marcelo Tosatti, maintainer of KVM."""
    return Mail("Marcelo Tosatti", day, time)
