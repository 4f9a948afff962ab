"""Mail from somebody who wishes ill: every byte is a reading or a refusal, and work grows no
faster than the mail."""

import gzip
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refault.errors import RefaultError, SeriesError
from refault.printable import first_unprintable
from refault.series import Reading, match, read
from refault.series.budget import Budget
from tests.series.mails import diff, mail, mbox

HEAD = b"From: a@b\nSubject: [PATCH] x\n"
FLOWED = b"Content-Type: text/plain; format=flowed\n\n"
HUNK = b"\n--- a/x\n+++ b/x\n@@ -1,99999 +1,99999 @@\n"
MULTI = b"Content-Type: multipart/mixed; boundary=x\n\n"

PATTERNS = {
    "a separator without an end": (HEAD + b"\nwords\nFrom a ", b"00:00:00 "),
    "separators": (b"", b"From a 00:00:00 2001\n"),
    "quoted separators": (HEAD + b"\n", b">From a\n"),
    "headers": (b"", b"A: b\n"),
    "headers that go on": (HEAD, b" x\n"),
    "brackets": (b"Subject: ", b"["),
    "tags": (b"Subject: ", b"[x] "),
    "answers": (b"Subject: ", b"Re: "),
    "numbers": (b"Subject: [", b"1/"),
    "coded words": (b"Subject: ", b"=?utf-8?q?"),
    "parentheses": (b"From: ", b"("),
    "a date": (b"Date: ", b"Mon "),
    "parameters": (b"Content-Type: a/b", b';a="'),
    "parts": (HEAD + MULTI, b"--x \n"),
    "almost parts": (HEAD + MULTI, b"--xx\n"),
    "base64": (HEAD + b"Content-Transfer-Encoding: base64\n\n", b"QUFB\n"),
    "folded lines": (HEAD + FLOWED, b"a \n"),
    "added lines": (HEAD + HUNK, b"+a\n"),
    "blocks": (HEAD + HUNK, b" a\n+b\n"),
    "hunks": (HEAD + HUNK, b"@@ -1 +1 @@\n-a\n+b\n"),
    "files": (HEAD + b"\n", b"--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"),
    "renames": (HEAD + b"\ndiff --git a/x b/x\n", b"rename from x\n"),
    "a long path": (HEAD + b"\n--- ", b"a/"),
    "signatures": (HEAD + b"\n", b"--\n"),
    "scissors": (HEAD + b"\n", b"- "),
    "headers in the body": (HEAD + b"\nFrom: x\n", b" y\n"),
    "commits": (b"", b"commit 1234567\nAuthor: a\n\n    x\n"),
    "blank lines": (b"", b"\n"),
    "half characters": (HEAD + b"Content-Type: text/plain; charset=utf-7\n\n", b"+2AA-"),
    "mails": (b"", b"From a Mon Sep 17 00:00:00 2001\n" + HEAD + HUNK + b"-a\n+b\n"),
}


def steps(data):
    """How many lines of Python are run to read some bytes."""
    count = 0

    def trace(_frame, event, _argument):
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        match(read(data).patches)
    except SeriesError:
        pass
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize(("head", "piece"), PATTERNS.values(), ids=PATTERNS)
def test_twice_the_mail_is_at_most_twice_the_work(head, piece):
    small, large = (steps(head + piece * count) for count in (300, 600))
    assert large <= 2 * small + 200


def attached(count):
    """A mail with so many diffs attached, each of its own."""
    parts = (
        b"--x\nContent-Type: application/octet-stream\n\n" + diff(f"toad{number}").encode()
        for number in range(count)
    )
    return HEAD + MULTI + b"".join(parts)


def test_twice_the_attached_diffs_are_at_most_twice_the_work():
    assert steps(attached(100)) <= 2 * steps(attached(50)) + 200


def test_members_of_gzip_that_hold_nothing_are_bounded():
    with pytest.raises(SeriesError, match="when unpacked"):
        Budget(unpacked=10_000).gunzip(gzip.compress(b"") * 20)


PIECES = [
    *(word for head, piece in PATTERNS.values() for word in (head, piece)),
    b"From a Mon Sep 17 00:00:00 2001\n",
    b"\n",
    b"\n\n",
    b"Subject: [PATCH v2 1/2] x\n",
    b"Subject: Re: \xe5\x9b\x9e\n",
    b"Content-Type: message/rfc822\n",
    b"Content-Type: multipart/digest; boundary=x\n",
    b"Content-Type: text/plain; charset=\xff\0\n",
    b"Content-Disposition: attachment\n",
    b"Content-Transfer-Encoding: quoted-printable\n",
    b"Date: Mon, 99 Foo 99999 99:99\n",
    b"Date: Mon, 12 Apr 2010 16:01:00 +0800\n",
    b"--x\n",
    b"--x--\n",
    b"\x1f\x8b\x08\x00",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"-- >8 --\n",
    b"diff --git a/x b/x\n",
    b"--- /dev/null\n",
    b'+++ "b/x\n',
    b"@@ -1,2 +1 @@\n",
    b"\\ No newline at end of file\n",
    b"\x1b]0;x\x07",
    b"\xed\xa0\x80",
    b"=?utf-7?q?+2AA-?=",
    mail("[PATCH 2/2] y", diff("y")),
    mbox(mail("[PATCH 1/2] z", diff("z"))),
]


@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=30), max_size=30))
def test_any_bytes_are_a_reading_or_a_refusal_and_can_be_shown(pieces):
    refusal = ""
    try:
        reading = read(b"".join(pieces))
    except RefaultError as error:
        refusal, reading = str(error), Reading(None, 1, (), ())
    shown = [refusal, reading.title or "", *reading.problems]
    shown += [text for entry in reading.skipped for text in (entry.subject, entry.reason)]
    for entry in reading.patches:
        assert len(entry.diff_id) == 64
        shown += [entry.subject, entry.tags, entry.author, entry.date or "", entry.message_id or ""]
    shown += [found.why for found in match(reading.patches)]
    assert [text for text in shown if first_unprintable(text) is not None] == []
