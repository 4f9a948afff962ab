"""Unpacks one mail: its headers, the text a reader sees, and the files that are attached.

Every step is bounded and its time grows with the mail, no faster. Nothing here raises on what a
mail contains, except for what :class:`refault.series.budget.Budget` bounds and :class:`Refused`.
"""

from __future__ import annotations

import base64
import codecs
import dataclasses
import quopri
import re
from collections.abc import Iterator

from refault.errors import SeriesError
from refault.series.budget import DEPTH_MAX, Budget
from refault.series.mailbox import GZIP, is_from_line, is_header, is_mail, without_mark

HEADER_BYTES_MAX = 1 << 20
_VALUE_MAX = 4_000
_WANTED = frozenset(
    {
        b"subject",
        b"from",
        b"date",
        b"message-id",
        b"content-type",
        b"content-transfer-encoding",
        b"content-disposition",
    }
)
_KIND = re.compile(r"\s*([^\s;(/]{1,80}/[^\s;(]{1,80})")
_PARAMETER = re.compile(r';\s*([\w-]{1,40})\*?\s*=\s*(?:"([^"]*)"|([^\s;"]+))')
_CODED = re.compile(r"=\?([^?\s]{1,40})\?([bBqQ])\?([^?\s]*)\?=")
_CHARSET = re.compile(r"[\w.:-]{1,40}\Z", re.ASCII)
# Codecs of Python that are no charsets, or that a mail has no use for.
_NO_CHARSETS = frozenset(
    {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem"}
)
_UNREAD = ("image/", "audio/", "video/", "font/", "text/html", "text/calendar", "text/css")
_BINARY_LOOK = 8_192
_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Refused(Exception):
    """This mail is not read; ``str()`` says why."""


@dataclasses.dataclass(slots=True)
class Headers:
    """The headers a series needs, by their names in lower case, decoded."""

    values: dict[str, str]

    def get(self, name: str) -> str:
        """A header's text on one line, or nothing."""
        return self.values.get(name, "")

    @property
    def kind(self) -> str:
        """The media type, in lower case."""
        found = _KIND.match(self.get("content-type"))
        return found[1].lower() if found else "text/plain"

    def parameters(self, name: str) -> dict[str, str]:
        """The parameters of a header."""
        return {
            found[1].lower(): (found[2] or found[3] or "").rpartition("''")[2]
            for found in _PARAMETER.finditer(self.get(name))
        }


@dataclasses.dataclass(slots=True)
class Unpacked:
    """One mail, unpacked.

    ``text`` is what its parts of text say, ``stuffed`` the same with the lines of
    format=flowed left as they came. ``attached`` are files and forwarded mails, decoded.
    """

    headers: Headers
    text: str = ""
    stuffed: str = ""
    attached: list[bytes] = dataclasses.field(default_factory=list)
    is_html_only: bool = False


def unpack(mail: list[bytes], budget: Budget, depth: int = 0) -> Unpacked:
    """The headers, text and attachments of a mail.

    Raises:
        Refused: its parts are nested too deep, or its headers are too long.
        SeriesError: over a bound of the whole reading.
    """
    headers, body = split(mail)
    found = Unpacked(headers)
    texts: list[tuple[str, str]] = []
    kinds: set[str] = set()
    for part_headers, lines in _leaves(headers, body, budget, depth):
        kind = part_headers.kind
        kinds.add(kind)
        if kind == "message/rfc822":
            found.attached.append(_decoded(part_headers, lines))
        elif not kind.startswith(_UNREAD):
            _add_leaf(found, texts, part_headers, lines, budget)
    found.text = "\n".join(text for text, _ in texts)
    found.stuffed = "\n".join(text for _, text in texts)
    found.is_html_only = "text/html" in kinds and not texts and not found.attached
    return found


def split(mail: list[bytes]) -> tuple[Headers, list[bytes]]:
    """The headers of a mail or a part, and its other lines.

    Raises:
        Refused: more than 1 MiB of headers.
    """
    raw: dict[bytes, list[bytes]] = {}
    current: list[bytes] | None = None
    size = at = 0
    for at, line in enumerate(mail):
        size += len(line)
        if size > HEADER_BYTES_MAX:
            raise Refused("its headers are longer than 1 MiB")
        if line[:1] in {b" ", b"\t"} and line.strip() and at:
            if current is not None:
                current.append(line)
        elif is_header(line):
            name, _, value = line.partition(b":")
            name = name.lower()
            current = raw.setdefault(name, [value]) if name in _WANTED and name not in raw else None
        elif not (at == 0 and (is_from_line(line) or line.startswith(b">From "))):
            break
    else:
        at = len(mail)
    if not raw:
        # Words such as "pond: other frogs" look like a header.
        return Headers({}), mail
    values = {
        name.decode("ascii"): _header_text(b" ".join(value)[:HEADER_BYTES_MAX])
        for name, value in raw.items()
    }
    return Headers(values), mail[at + 1 :] if mail[at : at + 1] == [b""] else mail[at:]


def _leaves(
    headers: Headers, body: list[bytes], budget: Budget, depth: int
) -> Iterator[tuple[Headers, list[bytes]]]:
    budget.take_part()
    if depth > DEPTH_MAX:
        raise Refused(f"its parts are nested deeper than {DEPTH_MAX}")
    boundary = headers.parameters("content-type").get("boundary", "")
    if not (headers.kind.startswith("multipart/") and boundary):
        yield headers, body
        return
    for part in _parts(body, b"--" + boundary.encode("utf-8", "replace")):
        part_headers, lines = split(part)
        if headers.kind == "multipart/digest" and "content-type" not in part_headers.values:
            part_headers.values["content-type"] = "message/rfc822"
        yield from _leaves(part_headers, lines, budget, depth + 1)


def _parts(lines: list[bytes], boundary: bytes) -> Iterator[list[bytes]]:
    """What stands between the boundaries; the last part may lack its end."""
    start = None
    for index, line in enumerate(lines):
        if not line.startswith(boundary):
            continue
        word = line.rstrip()
        if word not in {boundary, boundary + b"--"}:
            continue
        if start is not None:
            yield lines[start:index]
        start = None if word != boundary else index + 1
    if start is not None:
        yield lines[start:]


def _add_leaf(
    found: Unpacked,
    texts: list[tuple[str, str]],
    headers: Headers,
    lines: list[bytes],
    budget: Budget,
) -> None:
    """A part without parts: text if a reader would see it as such, else an attached file."""
    data = _decoded(headers, lines)
    if data.startswith(GZIP):
        try:
            data = budget.gunzip(data)
        except SeriesError:
            if budget.unpacked < 0:
                raise
            return
    parameters = headers.parameters("content-type")
    charset = parameters.get("charset", "")
    if data.startswith(_MARKS):
        data, charset = without_mark(data), "utf-8"
    elif charset.lower().startswith(("utf-16", "utf-32")):
        if b"\0" in data[:_BINARY_LOOK]:
            data = in_charset(data, charset).encode()
        charset = "utf-8"
    if b"\0" in data[:_BINARY_LOOK]:
        return
    budget.take_lines(data)
    is_attached = headers.kind != "text/plain" or headers.get(
        "content-disposition"
    ).lower().startswith("attachment")
    if is_attached and (texts or is_mail(data.split(b"\n"))):
        found.attached.append(data)
        return
    text = in_charset(data, charset).replace("\r\n", "\n")
    if parameters.get("format", "").lower() == "flowed":
        is_dropped = parameters.get("delsp", "").lower() == "yes"
        texts.append((unfolded(text, drop_space=is_dropped), text))
    else:
        texts.append((text, text))


def _decoded(headers: Headers, lines: list[bytes]) -> bytes:
    data = b"\n".join(lines)
    encoding = headers.get("content-transfer-encoding").lower()
    # Some programs write a comment or a semicolon behind it.
    if "base64" in encoding:
        return _base64(data)
    return quopri.decodestring(data) if "quoted-printable" in encoding else data


def _base64(data: bytes) -> bytes:
    """What base64 says, whatever stands between its letters; a last one alone says nothing."""
    kept = re.sub(rb"[^A-Za-z0-9+/]", b"", data)
    if len(kept) % 4 == 1:
        kept = kept[:-1]
    return base64.b64decode(kept + b"=" * (-len(kept) % 4))


def in_charset(data: bytes, charset: str) -> str:
    """Bytes as text; of a charset nobody knows as Latin-1, and never with half a character."""
    name = charset.strip().strip("'\"") or "utf-8"
    try:
        codec = codecs.lookup(name) if _CHARSET.match(name) else None
    except LookupError:
        codec = None
    if codec is None or codec.name in _NO_CHARSETS or not codec._is_text_encoding:  # noqa: SLF001
        return data.decode("latin-1")
    try:
        # Many mails that say ASCII are not.
        text = data.decode("utf-8" if codec.name == "ascii" else name, "replace")
    except UnicodeError:
        return data.decode("latin-1")
    return text.encode("utf-8", "replace").decode("utf-8")


def unfolded(text: str, *, drop_space: bool) -> str:
    """Text of format=flowed (RFC 3676): a line that ends in a space goes on in the next one."""
    lines: list[str] = []
    pieces: list[str] = []
    for line in text.split("\n"):
        if line == "-- ":
            if pieces:
                lines.append("".join(pieces))
                pieces = []
            lines.append(line)
            continue
        bare = line.removeprefix(" ")
        if bare.endswith(" "):
            pieces.append(bare[:-1] if drop_space else bare)
            continue
        pieces.append(bare)
        lines.append("".join(pieces))
        pieces = []
    if pieces:
        lines.append("".join(pieces))
    return "\n".join(lines)


def _header_text(value: bytes) -> str:
    """A header on one line, with its coded words (RFC 2047) decoded."""
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    text = " ".join(text[:_VALUE_MAX].split())
    # A character may be cut in two by two coded words, so what belongs together is joined first.
    runs: list[tuple[str, bytes]] = []
    end = 0
    for found in _CODED.finditer(text):
        between, end = text[end : found.start()], found.end()
        charset = found[1].partition("*")[0].lower()
        word = _coded_word(found[2], found[3])
        if runs and not between.strip() and runs[-1][0] == charset:
            runs[-1] = (charset, runs[-1][1] + word)
            continue
        if between.strip() or not runs:
            runs.append(("utf-8", between.encode("utf-8", "replace")))
        runs.append((charset, word))
    plain = text[end:].encode("utf-8", "replace")
    words = [in_charset(data, charset) for charset, data in (*runs, ("utf-8", plain))]
    return " ".join("".join(words).split())


def _coded_word(how: str, word: str) -> bytes:
    data = word.encode("utf-8", "replace")
    if how in "bB":
        return _base64(data)
    return quopri.decodestring(data.replace(b"_", b" "), header=False)
