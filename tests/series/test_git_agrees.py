"""Our reader held against ``git mailsplit`` and ``git mailinfo``, where git is there.

Where they differ on purpose nothing is compared: git 2.39 refuses a byte order mark, makes one
commit of all that is attached to a mail, and keeps replies.
"""

import shutil
import subprocess

import pytest

from refault.series import diff_id, read
from tests.series.mails import diff, encoded, mail, mbox, multipart

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

LEAD = b"From 0123456789abcdef0123456789abcdef01234567 Mon Sep 17 00:00:00 2001\n"
TWO = [mail("[PATCH 1/2] pond: one", diff("one")), mail("[PATCH 2/2] pond: two", diff("two"))]
FOLDED = "\n".join(f" {line}" if line.startswith(" ") else line for line in diff().split("\n"))


def headed(*lines, body):
    return "\n".join(
        ["From: Ann Other <ann@example.org>", "Subject: [PATCH] a", *lines, "", body]
    ).encode()


MAILS = {
    "a patch": mail("[PATCH] pond: one"),
    "two patches": mbox(*TWO),
    "no blank line between": LEAD + TWO[0] + LEAD + TWO[1],
    "carriage returns": mbox(*TWO).replace(b"\n", b"\r\n"),
    "tags of a list": mail("[some-list] [PATCH v2 2/2] pond: two"),
    "two trees": mail("[PATCH 5.10/5.15 1/2] pond: one"),
    "an octet stream": headed("Content-Type: application/octet-stream", body=diff()),
    "folded lines": headed("Content-Type: text/plain; format=flowed", body=FOLDED),
    "base64": encoded("[PATCH] a", diff(), "base64"),
    "quoted-printable": encoded("[PATCH] a", diff(), "quoted-printable"),
    "attached": multipart("[PATCH] a", diff()),
    "a coded subject": mail("=?UTF-8?Q?[PATCH]_gr=C3=BCn?="),
    "a folded subject": mail("[PATCH] pond:\n one"),
    "a subject in the body": mail(
        "Re: a talk", f"Subject: [PATCH] pond: one\n\nWords.\n---\n{diff()}"
    ).replace(b"\n\nWords.\n\n---\nSubject", b"\n\nSubject"),
    "an author in the body": headed(body=f"From: Real <real@example.org>\n\nWords.\n---\n{diff()}"),
}


def by_git(data, folder):
    """What git makes of the mails: subject, author and diff of each."""
    box, parts = folder / "box", folder / "parts"
    box.write_bytes(data)
    parts.mkdir()
    bare = [] if data.startswith(b"From ") else ["-b"]
    split = ["git", "mailsplit", *bare, f"-o{parts}", box]
    subprocess.run(split, check=True, capture_output=True)
    found = []
    for part in sorted(parts.iterdir()):
        patch = folder / f"{part.name}.patch"
        told = subprocess.run(
            ["git", "mailinfo", folder / f"{part.name}.words", patch],
            input=part.read_bytes(),
            capture_output=True,
            check=True,
        )
        lines = dict(
            line.split(": ", 1) for line in told.stdout.decode().splitlines() if ": " in line
        )
        author = f"{lines['Author']} <{lines['Email']}>"
        found.append((lines["Subject"], author, diff_id(patch.read_text("utf-8"))))
    return found


@pytest.mark.parametrize("data", MAILS.values(), ids=MAILS)
def test_mails_are_what_git_takes_them_for(data, tmp_path):
    ours = [
        (
            mail.subject,
            mail.author if "<" in mail.author else f"{mail.author} <{mail.author}>",
            mail.diff_id,
        )
        for mail in read(data).patches
    ]
    assert ours == by_git(data, tmp_path)
