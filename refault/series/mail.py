"""Reads mails that carry patches, and gives the reason for each other mail.

::

    files ── mailbox.cut ──► mails ── mime.unpack ──► text ── diffs.parse ──► Mail
                               ▲                       │
                               └── attached mails ─────┘     order.chosen ──► Reading

Only the standard library; nothing is executed, fetched or written.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from refault.errors import SeriesError
from refault.printable import printable
from refault.series import diffs, mailbox, mime, subjects
from refault.series.budget import BYTES_MAX, Budget
from refault.series.diffs import Diff
from refault.series.order import chosen
from refault.series.subjects import Subject

_AUTHOR_MAX = 320
_ID_MAX = 500
_TOLD_MAX = 10
_TOLD_LENGTH_MAX = 100
_SCISSORS = (">8", "8<", ">%", "%<")
_SCISSORS_LENGTH_MAX = 200
_IN_BODY = re.compile(r"(From|Subject|Date):[ \t]{0,20}(.*)")
_PATCH_LINE = re.compile(r"\[[^\]]{0,100}PATCH[^\]]{0,100}\]")


@dataclasses.dataclass(frozen=True, slots=True)
class Mail:
    """One patch as it was mailed; ``number`` of ``total`` where the subject says so.

    ``text`` is what the diff was read in, for tools that apply it.
    """

    subject: str
    tags: str
    version: int
    number: int | None
    total: int | None
    author: str
    date: str | None
    message_id: str | None
    diff_id: str
    diff: Diff = dataclasses.field(repr=False)
    text: str = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Skipped:
    """A mail that is no patch of the series, why it was left out, and what can be done."""

    subject: str
    reason: str
    remedy: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """What a file held. ``patches`` are those of one version, in the order they apply.

    ``problems`` are sentences on what is missing or mixed: with any of them, what was read may
    not be the series.
    """

    title: str | None
    version: int
    patches: tuple[Mail, ...]
    skipped: tuple[Skipped, ...]
    problems: tuple[str, ...] = ()


def read(data: bytes | Sequence[bytes], version: int | None = None) -> Reading:
    """The patches of a file of mails, or of several; of several versions the newest complete one.

    ``version`` asks for another. Cover letters (0/n), replies, mails without a diff, copies and
    other versions stand in ``skipped``. ``title`` is the cover letter's subject.

    Raises:
        SeriesError: nothing there is a patch (each mail is named, with the reason), that version
            is not there, two different mails claim one number, or a bound is reached.
    """
    files = [data] if isinstance(data, bytes) else data
    if sum(map(len, files)) > BYTES_MAX:
        raise SeriesError(f"more than {BYTES_MAX:,} bytes of mail: read one series at a time")
    shelf = _Shelf()
    for file in files:
        shelf.take_file(file)
    if not shelf.patches:
        raise SeriesError(f"no patch in this file: {_told(shelf.skipped)}")
    version, patches, left_out, problems = chosen(shelf.patches, shelf.claimed, version)
    skipped = (*shelf.skipped, *(Skipped(mail.subject, reason) for mail, reason in left_out))
    return Reading(shelf.titles.get(version), version, tuple(patches), skipped, tuple(problems))


class _Shelf:
    """Sorts mails into patches and mails that are left out."""

    def __init__(self) -> None:
        self.patches: list[Mail] = []
        self.skipped: list[Skipped] = []
        self.titles: dict[int, str] = {}
        self.claimed: dict[tuple[int, int], str] = {}
        self._budget = Budget()

    def take_file(self, data: bytes, depth: int = 0, within: Subject | None = None) -> None:
        """Every mail of a file. ``within``: the subject of the mail it was attached to."""
        mails = list(mailbox.cut(data, self._budget))
        for lines in mails:
            self._take(lines, depth, within if len(mails) == 1 else None)

    def _take(self, lines: list[bytes], depth: int, within: Subject | None) -> None:
        try:
            found = mime.unpack(lines, self._budget, depth)
        except mime.Refused as error:
            subject = _subject_of(lines)
            self.skipped.append(Skipped(subject.text, str(error)))
            return
        text, diff = _diff_of(found)
        head, body = _in_body(text)
        words = head.get("Subject") or found.headers.get("subject")
        if not found.headers.values and not words and diff is not None:
            words = _first_line(text)
        subject = subjects.take_apart(printable(words[: subjects.LENGTH_MAX]))
        if within is not None and subject.number is None and within.number is not None:
            subject = dataclasses.replace(
                subject, number=within.number, total=within.total, version=within.version
            )
        attached = [data for data in found.attached if _is_mail(data)]
        before = len(self.patches)
        for data in attached if diff is None else ():
            self.take_file(data, depth + 1, subject if len(attached) == 1 else None)
        if len(self.patches) > before:
            reason = "its attached patches are read"
            self.skipped.append(Skipped(subject.text, reason))
            return
        self._put(found, subject, diff, head, body)

    def _put(
        self,
        found: mime.Unpacked,
        subject: Subject,
        diff: Diff | None,
        head: dict[str, str],
        body: str,
    ) -> None:
        skipped = self._why_not(found, subject, diff, body)
        if skipped is not None or diff is None:
            if skipped is not None:
                self.skipped.append(skipped)
            return
        author = head.get("From") or found.headers.get("from")
        date = mailbox.date_of(head.get("Date") or found.headers.get("date"))
        message_id = printable(found.headers.get("message-id")[:_ID_MAX])
        self.patches.append(
            Mail(
                subject=subject.bare,
                tags=subject.tags,
                version=subject.version,
                number=subject.number,
                total=subject.total,
                author=printable(author) if len(author) <= _AUTHOR_MAX else "",
                date=date.isoformat() if date is not None else None,
                message_id=message_id or None,
                diff_id=diff.digest,
                diff=diff,
                text=body,
            )
        )

    def _why_not(
        self, found: mime.Unpacked, subject: Subject, diff: Diff | None, body: str
    ) -> Skipped | None:
        """Why a mail is no patch; None: it is one."""
        if subject.is_answer:
            remedy = (
                "its diff is read if a line 'Subject: [PATCH] ...' stands first in its body"
                if diff is not None
                else ""
            )
            return Skipped(subject.text, "a reply", remedy)
        if subject.number == 0:
            self.titles[subject.version] = subject.bare
            return Skipped(subject.text, "a cover letter")
        if diff is not None:
            return None
        if subject.number is not None:
            self.claimed[subject.version, subject.number] = subject.text
        return Skipped(subject.text, *_nothing_in(found, body))


def _nothing_in(found: mime.Unpacked, body: str) -> tuple[str, str]:
    """Why a mail has no diff, and what can be done."""
    if found.is_html_only:
        return "HTML only", "ask for it as plain text"
    if not found.headers.values:
        return "neither a mail nor a diff", ""
    if any(line.startswith("> diff ") for line in body.split("\n")):
        return "only a quoted diff in it", ""
    if any(line.startswith("@@ -") for line in body.split("\n")):
        return "its diff is damaged or cut off", "ask for it as an attachment"
    return "no diff in it", ""


def _diff_of(found: mime.Unpacked) -> tuple[str, Diff | None]:
    """The text of a mail with the bare diffs attached to it, and what they change."""
    text = _below_scissors(found.text)
    diff = diffs.parse(text)
    if found.text != found.stuffed and (diff is None or not diff.is_whole):
        # Some programs say format=flowed of a text that they did not fold.
        plain = diffs.parse(found.stuffed)
        if plain is not None and plain.is_whole:
            text, diff = found.stuffed, plain
    seen = {None, diff and diff.digest}
    texts = [text]
    for data in found.attached:
        more = "" if _is_mail(data) else mime.in_charset(data, "")
        digest = diffs.diff_id(more)
        if digest not in seen:
            seen.add(digest)
            texts.append(more)
    if len(texts) > 1:
        text = "\n".join(texts)
        diff = diffs.parse(text)
    return text, diff


def _below_scissors(text: str) -> str:
    """The text below a scissors line ``-- >8 --``, unless a diff comes before it."""
    place = 0
    for line in text.split("\n"):
        if line.startswith(("diff ", "--- ", "@@ ")):
            return text
        place += len(line) + 1
        if _is_scissors(line):
            return text[place:]
    return text


def _is_scissors(line: str) -> bool:
    """Whether a line is one to cut at: scissors, and dashes for a third of the rest, as in git."""
    if not (
        line[:1] in {"-", *(mark[0] for mark in _SCISSORS)} and len(line) < _SCISSORS_LENGTH_MAX
    ):
        return False
    visible = "".join(line.split())
    return any(mark in visible for mark in _SCISSORS) and 3 * visible.count("-") > len(visible)


def _in_body(text: str) -> tuple[dict[str, str], str]:
    """The headers that stand first in a body, as git takes them, and the rest.

    Who sends a patch of somebody else's puts the author's line there.
    """
    head: dict[str, str] = {}
    name = ""
    lines = text.lstrip().split("\n")
    for index, line in enumerate(lines):
        if found := _IN_BODY.match(line):
            name = found[1]
            head.setdefault(name, " ".join(found[2].split()))
        elif name and line.startswith((" ", "\t")) and line.strip():
            if len(head[name]) < subjects.LENGTH_MAX:
                head[name] += f" {line.strip()}"
        elif index == 0 and _PATCH_LINE.match(line):
            head["Subject"] = line
        else:
            return head, "\n".join(lines[index:])
    return head, ""


def _first_line(text: str) -> str:
    """What a bare patch file says of itself, if words stand above its diff."""
    line = text.lstrip().partition("\n")[0]
    is_diff = line.startswith(("diff ", "--- ", "+++ ", "@@ ", "Index: ", "index ", "====", "# "))
    return "" if is_diff else line


def _is_mail(data: bytes) -> bool:
    return data.startswith(mailbox.GZIP) or mailbox.is_mail(data.split(b"\n"))


def _subject_of(lines: list[bytes]) -> Subject:
    """The subject of a mail that is not read."""
    for line in lines[:200]:
        if line[:8].lower() == b"subject:":
            return subjects.take_apart(printable(mime.in_charset(line[8:1_000], "")))
    return subjects.take_apart("")


def _told(skipped: Sequence[Skipped]) -> str:
    """Each mail and why it was left out, on one line."""
    if not skipped:
        return "it is empty"
    words = []
    for entry in skipped[:_TOLD_MAX]:
        remedy = f" ({entry.remedy})" if entry.remedy else ""
        words.append(f"{entry.subject[:_TOLD_LENGTH_MAX]!r}: {entry.reason}{remedy}")
    if len(skipped) > _TOLD_MAX:
        words.append(f"and {len(skipped) - _TOLD_MAX} more")
    return "; ".join(words)
