"""Mails for tests: subjects and changes made up here."""

import base64
import quopri
from email.message import EmailMessage


def diff(line="one", path="fish/pond.c", at=10):
    """A made-up change of one line."""
    return (
        f"diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n"
        f"@@ -{at},3 +{at},3 @@ void pond(void)\n"
        f" \twater();\n-\tfrog();\n+\t{line}();\n \tmud();\n"
    )


def mail(subject, body=None, *, author="Ann Other <ann@example.org>", **headers):
    """The bytes of one mail, as git format-patch writes them."""
    lines = {"From": author, "Date": "Mon, 12 Apr 2010 16:01:00 +0800", "Subject": subject}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "\n".join(f"{name}: {value}" for name, value in lines.items())
    text = f"Words.\n\n---\n{diff() if body is None else body}-- \n2.1\n"
    return f"{head}\n\n{text}".encode()


def mbox(*mails):
    """Several mails as one mbox."""
    lead = b"From 0123456789abcdef0123456789abcdef01234567 Mon Sep 17 00:00:00 2001\n"
    return b"".join(lead + entry + b"\n" for entry in mails)


def encoded(subject, body, how):
    """A mail whose body is base64 or quoted-printable."""
    text = body.encode()
    coded = base64.encodebytes(text) if how == "base64" else quopri.encodestring(text)
    head = f"From: a@example.org\nSubject: {subject}\nMIME-Version: 1.0\n"
    head += f"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: {how}\n\n"
    return head.encode() + coded


def multipart(subject, body):
    """A mail with words and the diff as an attachment."""
    message = EmailMessage()
    message["From"] = "a@example.org"
    message["Subject"] = subject
    message.set_content("See the attachment.\n")
    message.add_attachment(body, subtype="x-patch", filename="0001.patch")
    return message.as_bytes()
