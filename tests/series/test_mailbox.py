import codecs
import gzip
import lzma

import pytest

from refault.errors import SeriesError
from refault.series import budget, read
from tests.series.mails import diff, mail, mbox

LEAD = b"From 0123456789abcdef0123456789abcdef01234567 Mon Sep 17 00:00:00 2001\n"
TWO = [mail("[PATCH 1/2] one", diff("one")), mail("[PATCH 2/2] two", diff("two"))]


def subjects(data):
    return [entry.subject for entry in read(data).patches]


@pytest.mark.parametrize(
    "data",
    [
        mbox(*TWO),
        (LEAD + TWO[0] + LEAD + TWO[1]).rstrip(b"\n"),
        codecs.BOM_UTF8 + mbox(*TWO),
        mbox(*TWO).decode().encode("utf-16"),
        mbox(*TWO).replace(b"\n", b"\r\n"),
        b"\n\n" + mbox(*TWO),
        mbox(*TWO).replace(LEAD, b"From mboxrd@z Thu Jan  1 00:00:00 1970\n"),
        mbox(*TWO).replace(LEAD, b"From ann@example.org  Mon Apr 12 16:01:00 +0800 2010\n"),
        mbox(*TWO).replace(LEAD, LEAD + b">From ann Mon Apr 12 16:01:00 2010\n"),
        TWO[0] + b"\n" + LEAD + TWO[1],
        gzip.compress(mbox(*TWO)),
        gzip.compress(LEAD + TWO[0]) + gzip.compress(LEAD + TWO[1]),
        gzip.compress(gzip.compress(mbox(*TWO))),
        TWO,
        [gzip.compress(TWO[1]), TWO[0]],
    ],
    ids=[
        "plain",
        "no blank line",
        "bom",
        "utf-16",
        "crlf",
        "blank lines first",
        "public-inbox",
        "zone",
        "quoted copy",
        "no first lead",
        "gzip",
        "gzip twice over",
        "gzip in gzip",
        "files",
        "packed file",
    ],
)
def test_no_mail_vanishes_however_mails_are_put_together(data):
    assert subjects(data) == ["one", "two"]


@pytest.mark.parametrize(
    "line",
    [
        "From here on it differs.",
        "From a 10:20",
        "From Mon to Tue 10:20:30 it rained in 2010, they say",
        "From " + "00:00:00 " * 50,
        ">From ann@example.org Mon Apr 12 16:01:00 2010",
    ],
)
def test_a_line_of_the_text_that_begins_with_from_cuts_no_mail(line):
    body = f"Words.\n\n{line}\nmore words\n---\n" + diff()
    assert subjects(mbox(mail("[PATCH] a", body))) == ["a"]


def test_the_lead_of_an_attached_patch_cuts_no_mail():
    attached = LEAD + mail("[PATCH 1/2] inner", diff("one"))
    outer = (
        b"From: a@example.org\nSubject: [PATCH 1/2] outer\nMIME-Version: 1.0\n"
        b"Content-Type: multipart/mixed; boundary=bb\n\n--bb\nContent-Type: text/plain\n\nWords.\n"
        b"--bb\nContent-Type: text/x-patch; name=1.patch\nContent-Disposition: attachment\n\n"
        + attached
        + b"\n--bb--\n"
    )
    reading = read(mbox(outer, TWO[1]))
    assert [entry.subject for entry in reading.patches] == ["inner", "two"]
    assert [entry.reason for entry in reading.skipped] == ["its attached patches are read"]


def test_what_git_log_prints_is_read_with_the_oldest_first():
    def commit(name, day, line):
        return (
            f"commit {name * 40}\nAuthor: Ann <ann@example.org>\n"
            f"Date:   Mon Apr {day} 16:01:00 2010 +0800\n\n"
            f"    {line}\n    \n    Words.\n\n{diff(line)}\n"
        )

    newest_first = (commit("b", 13, "two") + commit("a", 12, "one")).encode()
    oldest_first = (commit("a", 12, "one") + commit("b", 13, "two")).encode()
    for data in (newest_first, oldest_first):
        one, two = read(data).patches
        assert (one.subject, two.subject) == ("one", "two")
        assert (one.author, one.date) == ("Ann <ann@example.org>", "2010-04-12T16:01:00+08:00")


def test_a_bare_diff_is_a_patch_with_the_words_above_it_as_its_subject():
    assert subjects(diff().encode()) == [""]
    assert subjects(b"pond: other frogs\n\nWords.\n" + diff().encode()) == ["pond: other frogs"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (lzma.compress(b"x"), "packed by xz: unpack it first"),
        (b"BZh91AY", "packed by bzip2: unpack it first"),
        (b"PK\x03\x04", "packed by zip: unpack it first"),
        (gzip.compress(mbox(*TWO))[:-20], "gzip: the file ends too early"),
        (b"\x1f\x8b\x08\x00" + b"x" * 40, "gzip: damaged"),
    ],
)
def test_a_packed_file_that_cannot_be_read_says_what_it_is(data, words):
    with pytest.raises(SeriesError, match=words):
        read(data)


def test_a_bound_is_met_before_the_work_it_bounds(monkeypatch):
    bomb = gzip.compress(gzip.compress(b"\0" * (budget.BYTES_MAX + 1)))
    with pytest.raises(SeriesError, match="gzip: more than"):
        read(bomb)
    with pytest.raises(SeriesError, match="more than 500,000 lines"):
        read(b"\n" * 500_001)
    with pytest.raises(SeriesError, match="more than 1,000 mails"):
        read((LEAD + b"a: b\n\nx\n") * 1_001)
    parts = b"Content-Type: multipart/mixed; boundary=x\n\n" + b"--x\n\na\n" * 5_001
    with pytest.raises(SeriesError, match="more than 5,000 parts"):
        read(parts)
    monkeypatch.setattr("refault.series.mail.BYTES_MAX", 3)
    with pytest.raises(SeriesError, match="more than 3 bytes"):
        read([b"ab", b"cd"])
