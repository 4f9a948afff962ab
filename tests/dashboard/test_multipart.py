"""Forms with files, cut into chunks anywhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refault.errors import InvalidRequest
from services.dashboard.multipart import FormReader, Part

BOUNDARY = "----WebKitFormBoundaryX"
TYPE = f"multipart/form-data; boundary={BOUNDARY}"


def body_of(fields):
    """The body that a browser sends: name, filename or None, bytes of each field."""
    parts = []
    for name, filename, value in fields:
        file = "" if filename is None else f'; filename="{filename}"'
        kind = "" if filename is None else "Content-Type: application/octet-stream\r\n"
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n{kind}\r\n'
        parts.append(head.encode() + value + b"\r\n")
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


async def chunks_of(body, sizes):
    while body:
        size = sizes.pop(0) if sizes else len(body)
        yield body[:size]
        body = body[size:]


def read(body, sizes=(), content_type=TYPE):
    """All fields of a body; driven without an event loop, as nothing waits."""

    async def whole():
        reader = FormReader(content_type, chunks_of(body, list(sizes)))
        found = []
        while (part := await reader.next_part()) is not None:
            value = b"".join([piece async for piece in reader.bytes_of_part()])
            found.append((part.name, part.filename, value))
        return found

    coroutine = whole()
    try:
        coroutine.send(None)
    except StopIteration as ended:
        return ended.value
    raise AssertionError("it waited")


# From few bytes, so that much looks like a delimiter.
tricky = st.lists(
    st.sampled_from([b"\r", b"\n", b"-", b"--", b"x", f"\r\n--{BOUNDARY[:-1]}".encode()]),
    max_size=12,
).map(b"".join)


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b"]), st.sampled_from([None, "", "t.rft"]), tricky)),
    st.lists(st.integers(1, 40), max_size=60),
)
def test_a_form_is_read_whole_however_it_is_cut(fields, sizes):
    assert read(body_of(fields), sizes) == fields


def test_quoted_boundaries_are_read_too():
    quoted = f'multipart/form-data; charset=x; boundary="{BOUNDARY}"'
    assert read(body_of([("a", None, b"1")]), content_type=quoted) == [("a", None, b"1")]


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data", "multipart/form-data; x=y"])
def test_another_kind_is_refused(kind):
    with pytest.raises(InvalidRequest, match="boundary"):
        read(b"", content_type=kind)


@pytest.mark.parametrize("cut", range(0, 150, 7))
def test_a_form_that_breaks_off_is_refused(cut):
    body = body_of([("name", None, b"boot"), ("file", "t.rft", b"\x01" * 60)])
    with pytest.raises(InvalidRequest, match="ended before its last field"):
        read(body[:cut])


def test_headers_without_end_and_fields_without_number_are_refused():
    with pytest.raises(InvalidRequest, match="headers"):
        read(f"--{BOUNDARY}\r\n".encode() + b"x" * 10_000)
    with pytest.raises(InvalidRequest, match="more than 50 fields"):
        read(body_of([("a", None, b"")] * 51))
    with pytest.raises(InvalidRequest, match="no name"):
        read(f"--{BOUNDARY}\r\nContent-Type: text/plain\r\n\r\nx\r\n--{BOUNDARY}--".encode())


def test_a_file_that_was_not_chosen_has_an_empty_name():
    assert read(body_of([("file", "", b"")])) == [("file", "", b"")]
    assert Part("file", "").filename == ""
