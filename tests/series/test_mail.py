import pytest
from hypothesis import given
from hypothesis import strategies as st

from refault.errors import RefaultError, SeriesError
from refault.series import read
from tests.series.mails import diff, encoded, mail, mbox, multipart


def subjects(reading):
    return [entry.subject for entry in reading.patches]


def reasons(reading):
    return [(entry.subject, entry.reason) for entry in reading.skipped]


def test_a_series_is_read_in_the_order_of_its_numbers_without_cover_and_replies():
    reading = read(
        mbox(
            mail("[PATCH v2 2/2] pond: two", diff("two")),
            mail("[PATCH v2 0/2] pond: better frogs", "no diff\n"),
            mail("Re: [PATCH v2 1/2] pond: one", diff("quoted")),
            mail("[PATCH v2 1/2] pond: one", diff("one")),
            mail("[ANNOUNCE] frogs", "words\n"),
        )
    )
    assert subjects(reading) == ["pond: one", "pond: two"]
    assert (reading.title, reading.version) == ("pond: better frogs", 2)
    assert [(m.number, m.total, m.tags) for m in reading.patches] == [
        (1, 2, "PATCH v2 1/2"),
        (2, 2, "PATCH v2 2/2"),
    ]
    assert reasons(reading) == [
        ("[PATCH v2 0/2] pond: better frogs", "a cover letter"),
        ("Re: [PATCH v2 1/2] pond: one", "a reply"),
        ("[ANNOUNCE] frogs", "no diff in it"),
    ]


def test_author_and_date_are_those_of_the_mail_or_of_its_first_line():
    body = "From: Real Author <real@example.org>\n\nWords.\n---\n" + diff("two")
    own, sent = read(
        mbox(
            mail("[PATCH 1/2] a"),
            b"From: b@example.org\nSubject: [PATCH 2/2] b\n\n" + body.encode(),
        )
    ).patches
    assert own.author == "Ann Other <ann@example.org>"
    assert own.date == "2010-04-12T16:01:00+08:00"
    assert (sent.author, sent.date) == ("Real Author <real@example.org>", None)


def test_a_patch_file_alone_needs_no_separator():
    assert subjects(read(mail("[PATCH] pond: one"))) == ["pond: one"]


def test_a_line_that_begins_with_from_cuts_no_mail():
    body = "From here on it is different.\n\nFrom mud to water\n" + diff()
    assert subjects(read(mbox(mail("[PATCH] a", body)))) == ["a"]


@pytest.mark.parametrize(
    "data",
    [
        encoded("[PATCH] a", diff(), "base64"),
        encoded("[PATCH] a", diff(), "quoted-printable"),
        multipart("[PATCH] a", diff()),
        mail("[PATCH] a").replace(b"\n", b"\r\n"),
        mail("=?utf-8?b?W1BBVENIXSBh?="),
        mail("[PATCH]\n a"),
    ],
    ids=["base64", "quoted-printable", "attachment", "crlf", "encoded subject", "folded"],
)
def test_however_a_mail_is_packed_it_is_the_same_patch(data):
    [found] = read(data).patches
    [plain] = read(mail("[PATCH] a")).patches
    assert (found.subject, found.diff_id) == ("a", plain.diff_id)


def test_a_charset_nobody_knows_loses_no_patch():
    data = encoded("[PATCH] a", diff(), "base64").replace(b"utf-8", b"klingon")
    assert subjects(read(data)) == ["a"]


def test_of_several_versions_the_newest_is_meant_unless_one_is_asked_for():
    data = mbox(mail("[PATCH 1/1] a", diff("old")), mail("[PATCH v3 1/1] a", diff("new")))
    assert (read(data).version, read(data, 1).version) == (3, 1)
    assert reasons(read(data)) == [("a", "of v1, not v3")]
    with pytest.raises(SeriesError, match="no version v2 in this file; there is v1, v3"):
        read(data, 2)


def test_a_copy_of_a_mail_counts_once_and_two_claims_to_a_number_are_refused():
    copied = read(mbox(mail("[PATCH 1/2] a"), mail("[PATCH 1/2] a")))
    assert subjects(copied) == ["a"]
    assert reasons(copied) == [("a", "a duplicate of another mail")]
    with pytest.raises(SeriesError, match=r"are number 1: 'a' and 'b'"):
        read(mbox(mail("[PATCH 1/2] a", diff("x")), mail("[PATCH 1/2] b", diff("y"))))


@pytest.mark.parametrize("data", [b"", b"\0" * 100, mail("words", "none\n"), b"From \n"])
def test_a_file_without_a_patch_is_refused(data):
    with pytest.raises(SeriesError, match="no patch in this file"):
        read(data)


PIECES = st.lists(
    st.sampled_from(
        [b"From a Mon Sep 17 00:00:00 2001\n", b"\n", b"Subject: [PATCH 99999999999/2] x\n",
         b"Subject: [PATCH v99999999999999999999]\n",
         b"Content-Type: multipart/mixed; boundary=x\n",
         b"--x\n", b"Content-Transfer-Encoding: base64\n", b"Date: Mon, 99 Foo 99999 99:99\n",
         b"@@ -1,9999999 +1 @@\n", b"+++ b/x\n", b"+a\n", b"From: \xff<\n", b"Subject: =?x?b?!?=\n"]
    )
    | st.binary(max_size=30),
    max_size=30,
)  # fmt: skip


@given(PIECES)
def test_no_bytes_break_the_reader(pieces):
    try:
        reading = read(b"".join(pieces))
    except RefaultError:
        return
    assert all(len(entry.diff_id) == 64 for entry in reading.patches)


def test_headers_that_stand_first_in_a_body_are_those_of_the_patch():
    body = "From: Real <real@example.org>\nDate: Tue, 13 Apr 2010 10:00:00 +0200\n"
    body += "Subject: [PATCH v2 2/2] pond: a subject\n that goes on\n\nWords.\n---\n" + diff()
    [found] = read(b"From: b@example.org\nSubject: a talk\n\n" + body.encode()).patches
    assert (found.subject, found.version, found.number) == ("pond: a subject that goes on", 2, 2)
    assert (found.author, found.date) == ("Real <real@example.org>", "2010-04-13T10:00:00+02:00")


@pytest.mark.parametrize(
    "above",
    [
        "",
        "I think it should be like this:\n\n-- >8 --\n",
        "On Monday Ann wrote:\n> words\n\n- - - 8< - - - 8< - - -\n",
        "Try this.\n---->8----\n",
    ],
)
def test_a_reply_that_brings_a_patch_of_its_own_is_that_patch(above):
    body = f"{above}Subject: [PATCH] pond: one\n\nWords.\n---\n{diff()}"
    [found] = read(b"From: b@example.org\nSubject: Re: a talk\n\n" + body.encode()).patches
    assert found.subject == "pond: one"


def test_a_file_without_a_patch_names_each_mail_and_why_it_was_left_out():
    html = b"From: a@b\nSubject: [PATCH] h\nContent-Type: text/html\n\n<pre>" + diff().encode()
    data = mbox(
        mail("[PATCH 0/2] better", "words\n"),
        mail("[PATCH 1/2] one", "words\n"),
        mail("Re: [PATCH 1/2] one", diff()),
        mail("AW: x", "words\n"),
        mail("x", "> diff --git a/x b/x\n> --- a/x\n> +++ b/x\n> @@ -1 +1 @@\n> -a\n> +b\n"),
        html,
    )
    with pytest.raises(SeriesError) as caught:
        read(data)
    assert str(caught.value) == (
        "no patch in this file: "
        "'[PATCH 0/2] better': a cover letter; "
        "'[PATCH 1/2] one': no diff in it; "
        "'Re: [PATCH 1/2] one': a reply (its diff is read if a line 'Subject: [PATCH] ...' stands "
        "first in its body); "
        "'AW: x': a reply; "
        "'x': only a quoted diff in it; "
        "'[PATCH] h': HTML only (ask for it as plain text)"
    )
    with pytest.raises(SeriesError, match="it is empty"):
        read(b"\n\n")
    many = mbox(*(mail(f"x{at}", "words\n") for at in range(12)))
    with pytest.raises(SeriesError, match="'x9': no diff in it; and 2 more"):
        read(many)
