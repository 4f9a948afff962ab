"""Reads mails that carry patches: mbox, single mails, ``git format-patch`` files.

::

    [PATCH v2 3/6] KVM MMU: one line
     │     │  │ │  └── subject, what git log would show
     │     │  └─┴───── number, total
     │     └────────── version (1 if it is not named)
     └──────────────── tags

Only the standard library; nothing is executed, fetched or written.
"""

from __future__ import annotations

import dataclasses
import email.message
import email.policy
import email.utils
import re
from collections.abc import Iterator

from refault.errors import SeriesError
from refault.series.diffs import diff_id

MAILS_MAX = 1_000

# As git does: a mail that quotes "From here on" must not be cut there.
_SEPARATOR = re.compile(rb"(?m)^From \S+ .*\d\d:\d\d:\d\d.* \d{4}.*\r?$\n?")
_REPLY = re.compile(r"(?i)^(re|aw|antw|fwd?|sv)(\[\d+\])?:")
_TAGS = re.compile(r"^\s*\[([^\]]*)\]\s*")
_NUMBER = re.compile(r"(\d+)/(\d+)")
_VERSION = re.compile(r"(?i)\bv(\d+)\b|\bv(\d+)$")
_IN_BODY_FROM = re.compile(r"\s*From: *(.+?) *$", re.MULTILINE)


@dataclasses.dataclass(frozen=True, slots=True)
class Mail:
    """One patch as it was mailed; ``number`` of ``total`` where the subject says so."""

    subject: str
    tags: str
    version: int
    number: int | None
    total: int | None
    author: str
    date: str | None
    message_id: str | None
    diff_id: str


@dataclasses.dataclass(frozen=True, slots=True)
class Skipped:
    """A mail that is no patch, and why it was left out."""

    subject: str
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """What a file held. ``patches`` are those of the newest version, in the order they apply."""

    title: str | None
    version: int
    patches: tuple[Mail, ...]
    skipped: tuple[Skipped, ...]


def read(data: bytes, version: int | None = None) -> Reading:
    """The patches of a file of mails; of several versions the newest, or the one asked for.

    Cover letters (0/n), replies, mails without a diff, copies and other
    versions stand in ``skipped``. ``title`` is the cover letter's subject.

    Raises:
        SeriesError: nothing in the file is a patch, that version is not there, two different
            mails claim one number, or there are more than 1,000 mails.
    """
    skipped: list[Skipped] = []
    patches: list[Mail] = []
    titles: dict[int, str] = {}
    for message in _messages(data):
        subject = _header(message, "subject")
        number, found_version = _numbered(subject), _version_of(subject)
        plain = _bare(subject)
        text = _text(message)
        identity = diff_id(text)
        if _REPLY.match(subject):
            skipped.append(Skipped(subject, "a reply"))
        elif number is not None and number[0] == 0:
            titles[found_version] = plain
            skipped.append(Skipped(subject, "a cover letter"))
        elif identity is None:
            skipped.append(Skipped(subject, "no diff in it"))
        else:
            patches.append(_mail(message, subject, text, identity))
    if not patches:
        raise SeriesError("no patch in this file: expected mails with diffs, as mbox or patch file")
    versions = sorted({mail.version for mail in patches})
    chosen = versions[-1] if version is None else version
    if chosen not in versions:
        listed = ", ".join(f"v{number}" for number in versions)
        raise SeriesError(f"no version v{chosen} in this file; there is {listed}")
    skipped += [
        Skipped(mail.subject, f"of v{mail.version}, not v{chosen}")
        for mail in patches
        if mail.version != chosen
    ]
    ordered = _ordered([mail for mail in patches if mail.version == chosen], skipped)
    return Reading(titles.get(chosen), chosen, tuple(ordered), tuple(skipped))


def _messages(data: bytes) -> Iterator[email.message.EmailMessage]:
    starts = [found for found in _SEPARATOR.finditer(data) if _begins_a_mail(data, found.start())]
    if len(starts) > MAILS_MAX:
        raise SeriesError(f"more than {MAILS_MAX} mails in one file: split it")
    if not starts:
        yield email.message_from_bytes(data, policy=email.policy.default)
        return
    ends = [*(found.start() for found in starts[1:]), len(data)]
    for found, end in zip(starts, ends, strict=True):
        part = re.sub(rb"(?m)^>(>*From )", rb"\1", data[found.end() : end])
        yield email.message_from_bytes(part, policy=email.policy.default)


def _begins_a_mail(data: bytes, place: int) -> bool:
    return (
        place == 0
        or data[:place].rstrip(b"\r\n") == b""
        or data[place - 2 : place]
        in {
            b"\n\n",
            b"\r\n",
        }
    )


def _header(message: email.message.EmailMessage, name: str) -> str:
    try:
        value = message.get(name, "")
    except (ValueError, IndexError, AttributeError, TypeError):
        # The standard library's parser gives up on some headers that do occur.
        return ""
    return " ".join(str(value).split()).replace("\0", "")


def _text(message: email.message.EmailMessage) -> str:
    """Every part of text, decoded; a charset nobody knows is read as Latin-1."""
    texts = []
    for part in message.walk():
        if part.get_content_maintype() != "text" or part.get_content_subtype() == "html":
            continue
        payload = part.get_payload(decode=True)
        if not isinstance(payload, bytes):
            continue
        charset = part.get_content_charset() or "utf-8"
        try:
            texts.append(payload.decode(charset, errors="replace"))
        except LookupError:
            texts.append(payload.decode("latin-1"))
    return "\n".join(texts).replace("\r\n", "\n")


def _mail(message: email.message.EmailMessage, subject: str, text: str, identity: str) -> Mail:
    number = _numbered(subject)
    # Who sends a patch of somebody else's puts the author's line first.
    in_body = _IN_BODY_FROM.match(text)
    return Mail(
        subject=_bare(subject),
        tags=_tags(subject),
        version=_version_of(subject),
        number=number and number[0],
        total=number and number[1],
        author=in_body[1] if in_body else _header(message, "from"),
        date=_date(_header(message, "date")),
        message_id=_header(message, "message-id") or None,
        diff_id=identity,
    )


def _date(text: str) -> str | None:
    try:
        return email.utils.parsedate_to_datetime(text).isoformat()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _tags(subject: str) -> str:
    found = _TAGS.match(subject)
    return found[1] if found else ""


def _bare(subject: str) -> str:
    while found := _TAGS.match(subject):
        subject = subject[found.end() :]
    return subject.strip()


def _numbered(subject: str) -> tuple[int, int] | None:
    found = _NUMBER.search(_tags(subject))
    return (int(found[1][:6]), int(found[2][:6])) if found else None


def _version_of(subject: str) -> int:
    found = _VERSION.search(_tags(subject))
    return max(1, int((found[1] or found[2])[:6])) if found else 1


def _ordered(patches: list[Mail], skipped: list[Skipped]) -> list[Mail]:
    """In the order of their numbers; those without one stay where they stood, at the end."""
    kept: list[Mail] = []
    for mail in patches:
        twin = next((other for other in kept if other.diff_id == mail.diff_id), None)
        if twin is not None:
            skipped.append(Skipped(mail.subject, "a copy of another mail here"))
            continue
        rival = next(
            (other for other in kept if mail.number is not None and other.number == mail.number),
            None,
        )
        if rival is not None:
            raise SeriesError(
                f"two different mails are number {mail.number}: {rival.subject!r} and "
                f"{mail.subject!r}; upload one series at a time"
            )
        kept.append(mail)
    return sorted(kept, key=lambda mail: (mail.number is None, mail.number or 0))
