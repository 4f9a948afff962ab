"""The synchronous client is as `make client` generates it."""

import json
import re

import anyio
import httpx
import pytest

from refault.client import AsyncClient, Client
from refault.errors import Refused
from tools import client


def test_the_synchronous_client_is_as_generated():
    assert client.differing(client.generated()) == []


def test_a_file_that_was_changed_one_too_many_and_one_that_is_missing_are_named():
    files = client.generated()
    changed, surplus, *_ = files
    missing = client.TARGET / "sessions.py"

    files[changed] += "\n"
    del files[surplus]
    files[missing] = ""

    assert client.differing(files) == sorted([changed, surplus, missing])


def test_nothing_asynchronous_is_left_in_it():
    word = re.compile(r"\b(async|await|Async\w+|async_\w+|a(?:iter|enter|exit|close)\w*)\b")
    left = {path.name: word.findall(text) for path, text in client.generated().items()}
    assert not {name: words for name, words in left.items() if words}


TRACE = {"id": "t"}


async def asked(kind):
    service = httpx.MockTransport(lambda _: httpx.Response(200, json=TRACE))
    answer = kind("http://x", transport=service).get_trace("t")
    return await answer  # the synchronous one has raised


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_both_refuse_an_answer_of_another_shape(kind):
    with pytest.raises(Refused, match="answered what cannot be used: /digest is missing"):
        anyio.run(asked, kind)


@pytest.mark.anyio
async def test_an_application_of_this_process_is_taken_at_its_word():
    async def app(_scope, _receive, send):
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(TRACE).encode()})

    async with AsyncClient.in_process(app, "http://x") as there:
        assert await there.get_trace("t") == TRACE
