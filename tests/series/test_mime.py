import base64
import gzip
import quopri

import pytest

from refault.errors import SeriesError
from refault.series import read
from tests.series.mails import diff, mail, mbox

PLAIN = read(mail("[PATCH] a")).patches[0].diff_id


def headed(*lines, body):
    """A mail with these headers besides the usual ones."""
    head = "\n".join(["From: Ann <ann@example.org>", "Subject: [PATCH] a", *lines])
    return f"{head}\n\n".encode() + (body if isinstance(body, bytes) else body.encode())


def parts(*texts, kind="mixed"):
    """A mail of several parts, each with its headers."""
    body = "".join(f"--bb\n{text}\n" for text in texts) + "--bb--\n"
    return headed("MIME-Version: 1.0", f"Content-Type: multipart/{kind}; boundary=bb", body=body)


WORDS = "Content-Type: text/plain\n\nSee the attachment.\n"


def attachment(kind, text, encoding="8bit"):
    coded = base64.encodebytes(text).decode() if encoding == "base64" else text.decode()
    return (
        f"Content-Type: {kind}; name=1.patch\nContent-Transfer-Encoding: {encoding}\n"
        f"Content-Disposition: attachment; filename=1.patch\n\n{coded}"
    )


def inner(**headers):
    return mail("[PATCH] inner", **headers)


def told(data):
    reading = read(data)
    return [(entry.subject, entry.diff_id == PLAIN) for entry in reading.patches]


@pytest.mark.parametrize(
    "kind", ["application/octet-stream", "text/x-patch", "text/x-diff", "application/mbox"]
)
@pytest.mark.parametrize("encoding", ["8bit", "base64"])
def test_a_patch_file_that_is_attached_is_the_patch(kind, encoding):
    assert told(parts(WORDS, attachment(kind, inner(), encoding))) == [("inner", True)]
    assert told(parts(WORDS, attachment(kind, diff().encode(), encoding))) == [("a", True)]


def test_an_attached_patch_has_the_number_of_the_mail_if_it_has_none():
    data = parts(WORDS, attachment("text/x-patch", inner())).replace(
        b"[PATCH] a", b"[PATCH v3 2/2] a"
    )
    [found] = read(data).patches
    assert (found.subject, found.version, found.number, found.total) == ("inner", 3, 2, 2)


def test_several_attached_patches_are_as_many():
    data = parts(
        WORDS,
        attachment("text/x-patch", mail("[PATCH 1/2] one", diff("one"))),
        attachment("text/x-patch", mail("[PATCH 2/2] two", diff("two"))),
    )
    assert [entry.subject for entry in read(data).patches] == ["one", "two"]


def test_the_same_diff_in_the_text_and_attached_counts_once():
    data = parts(
        "Content-Type: text/plain\n\n" + diff(), attachment("text/x-diff", diff().encode())
    )
    assert told(data) == [("a", True)]


@pytest.mark.parametrize(
    "data",
    [
        parts(WORDS, "Content-Type: message/rfc822\n\n" + inner().decode()),
        parts(
            WORDS,
            "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n"
            + base64.encodebytes(inner()).decode(),
        ),
        parts("\n" + inner().decode(), kind="digest"),
        parts(WORDS, attachment("application/gzip", gzip.compress(inner()), "base64")),
        parts(WORDS, attachment("application/x-gzip", gzip.compress(mbox(inner())), "base64")),
    ],
    ids=["forwarded", "forwarded in base64", "digest", "gzip", "gzip of an mbox"],
)
def test_a_mail_within_a_mail_is_read(data):
    assert told(data) == [("inner", True)]


@pytest.mark.parametrize(
    "data",
    [
        headed("Content-Type: application/octet-stream; x-default=true", body=diff()),
        headed("Content-Type: text/plain; charset=us-ascii", body="Grüße\n" + diff()),
        headed(
            "Content-Type: text/plain; charset=iso-8859-15",
            body="Gr\xfc\xdfe\n".encode("latin-1") + diff().encode(),
        ),
        headed('Content-Type: text/plain; charset="u\0d"', body=diff()),
        *(
            headed(f"Content-Type: text/plain; charset={name}", body=diff())
            for name in (
                "idna",
                "punycode",
                "undefined",
                "rot13",
                "hex",
                "klingon",
                "x" * 5000,
                "unicode_escape",
                "..",
                "''",
                '"',
            )
        ),
        headed("Content-Type: text/plain; charset*=idna''x", body=diff()),
        headed('Content-Type: ;;;="', body=diff()),
        headed("Content-Type: multipart/mixed", body=diff()),
        headed("Content-Type: multipart/mixed; boundary=", body=diff()),
        headed("Content-Transfer-Encoding: x-uuencode", body=diff()),
        headed(
            "Content-Transfer-Encoding: base64",
            body=base64.b64encode(diff().encode() + b"\n\n").rstrip(b"="),
        ),
        headed(
            "Content-Transfer-Encoding: BASE64;",
            body=base64.encodebytes(diff().encode()),
        ),
        headed(
            "Content-Transfer-Encoding: quoted-printable (by hand)",
            body=quopri.encodestring(diff().encode(), quotetabs=True),
        ),
        headed(
            "Content-Type: text/plain; charset=utf-16",
            "Content-Transfer-Encoding: base64",
            body=base64.encodebytes(diff().encode("utf-16")),
        ),
        headed(
            "Content-Type: text/plain; charset=UTF-16BE",
            "Content-Transfer-Encoding: base64",
            body=base64.encodebytes(diff().encode("utf-16-be")),
        ),
        headed("Content-Type: text/plain; charset=utf-16", body=diff()),
        parts(
            WORDS,
            attachment("application/octet-stream", diff().encode("utf-16"), "base64"),
        ),
        headed("Date: Mon, 12 Apr 99999999999 16:01:00 +0800", body=diff()),
        headed("Date: Mon, 12 Apr 2010 16:01:00 +9999", body=diff()),
        headed("Date: " + "(" * 5000, body=diff()),
        parts("Content-Type: text/plain\n\n" + diff(), "Content-Type: text/html\n\n<pre>" + diff()),
        parts(
            "Content-Type: text/plain\n\n" + diff(),
            "Content-Type: application/pgp-signature\n\nxx",
            kind="signed",
        ),
        parts("Content-Type: text/plain\n\n" + diff()).replace(b"--bb--\n", b""),
    ],
)
def test_whatever_the_headers_say_the_diff_is_read(data):
    assert told(data) == [("a", True)]


def test_half_a_character_becomes_a_question_mark():
    text = diff().replace("+", "+-").replace("one", "+2AA-")
    [found] = read(headed("Content-Type: text/plain; charset=utf-7", body=text)).patches
    assert found.diff_id == read(mail("[PATCH] a", diff("?"))).patches[0].diff_id


@pytest.mark.parametrize("drop", ["", "; delsp=yes"])
def test_lines_that_a_mailer_folded_are_whole_again(drop):
    """RFC 3676: a space in front for what begins with one, a space behind where a line goes on."""
    text = diff("quite_a_long name")
    folded = "\n".join(f" {line}" if line.startswith(" ") else line for line in text.split("\n"))
    folded = folded.replace("long name", "long  \nname" if drop else "long \nname")
    data = headed(f"Content-Type: text/plain; format=flowed{drop}", body=folded + "-- \n2.1\n")
    assert read(data).patches[0].diff_id == read(mail("[PATCH] a", text)).patches[0].diff_id


def test_a_text_that_says_it_is_folded_and_is_not_is_read_as_it_came():
    text = diff().replace(" \twater();\n", " \twater();\n \n").replace("10,3 +10,3", "10,4 +10,4")
    [found] = read(headed("Content-Type: text/plain; format=flowed", body=text)).patches
    assert found.diff_id == PLAIN
    assert found.diff.is_whole


def test_quoted_printable_with_soft_ends_is_the_same_diff():
    coded = quopri.encodestring(diff().encode())
    assert told(headed("Content-Transfer-Encoding: quoted-printable", body=coded)) == [("a", True)]


@pytest.mark.parametrize(
    ("coded", "plain"),
    [
        ("=?utf-8?b?W1BBVENIXSBh?=", "a"),
        ("=?UTF-8?Q?[PATCH]_gr=C3?= =?UTF-8?Q?=BCn?=", "grün"),
        ("=?utf-8?q?[PATCH]?= =?iso-8859-1?q?_gr=FCn?=", "grün"),
        ("[PATCH] =?utf-8*de?q?gr=C3=BCn?= and more", "grün and more"),
        ("[PATCH] =?idna?q?x?= =?\0?q?y?=", "xy"),
        ("[PATCH] a =?utf-8?q?unfinished", "a =?utf-8?q?unfinished"),
        ("[PATCH] \x1b[31mred", r"\x1b[31mred"),
        ("[PATCH] =?utf-8?q?=1B[31m=E2=80=AE?=", r"\x1b[31m\u202e"),
        ("[PATCH] =?utf-7?q?+2AA-?=", "?"),
    ],
)
def test_a_subject_is_decoded_and_shows_no_control_characters(coded, plain):
    assert read(mail(coded)).patches[0].subject == plain


def test_an_author_longer_than_a_mail_address_can_be_is_left_away():
    assert read(mail("[PATCH] a", author="(" * 1_000 + "x <a@b>")).patches[0].author == ""
    assert (
        read(mail("[PATCH] a", author="((x)) \x1b[1m <a@b>")).patches[0].author
        == r"((x)) \x1b[1m <a@b>"
    )


def test_parts_nested_too_deep_are_refused_in_one_line():
    nested = "".join(
        f"Content-Type: multipart/mixed; boundary=b{i}\n\n--b{i}\n" for i in range(1_000)
    )
    with pytest.raises(SeriesError) as caught:
        read(f"Subject: x\n{nested}".encode())
    assert str(caught.value) == "no patch in this file: 'x': its parts are nested deeper than 20"
    forwarded = b"Subject: y\nContent-Type: message/rfc822\n\n" * 1_000
    with pytest.raises(SeriesError, match="nested deeper than 20"):
        read(forwarded + mail("[PATCH] a"))


def test_one_hostile_mail_does_not_hide_the_others():
    nested = "".join(f"Content-Type: multipart/mixed; boundary=b{i}\n\n--b{i}\n" for i in range(30))
    reading = read(mbox(f"Subject: x\n{nested}".encode(), mail("[PATCH] a")))
    assert [entry.subject for entry in reading.patches] == ["a"]
    assert [entry.reason for entry in reading.skipped] == ["its parts are nested deeper than 20"]
