import pytest

from refault.glossary import ENTRIES, GROUPS

pytestmark = pytest.mark.anyio


async def test_anybody_gets_every_word_with_its_meaning(stranger):
    answer = await stranger.get("/api/v1/glossary")

    assert answer.status_code == 200
    document = answer.json()
    assert len(document["items"]) == len(ENTRIES)
    assert [group["name"] for group in document["groups"]] == [group.name for group in GROUPS]
    [exits] = [item for item in document["items"] if item["name"] == "exits"]
    assert exits["anchor"] == "exits"
    assert exits["text"].startswith("Accesses of the guest whose fault left it")


async def test_a_search_and_a_group_leave_the_rest_out(stranger):
    found = (await stranger.get("/api/v1/glossary", params={"q": "flush"})).json()["items"]
    costs = (await stranger.get("/api/v1/glossary", params={"group": "costs"})).json()["items"]

    assert "hw_flush" in [item["name"] for item in found]
    assert 3 < len(found) < len(ENTRIES)
    assert {item["group"] for item in costs} == {"costs"}


async def test_an_endless_search_is_refused(stranger):
    answer = await stranger.get("/api/v1/glossary", params={"q": "x" * 101})

    assert answer.status_code == 422
    assert "100 characters" in answer.text
