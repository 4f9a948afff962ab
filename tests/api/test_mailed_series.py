"""Patch sets from mail over HTTP."""

import pytest

from refault import catalogue
from refault.catalogue import SEED_SERIES
from services.api.patch_sets.mails import MAIL_BYTES_MAX
from tests.series.mails import diff, mail, mbox

pytestmark = pytest.mark.anyio

FROM_MAIL = "/api/v1/patch_sets/from_mail"


def seed_mails(count=6, version=""):
    return mbox(
        mail(f"[PATCH{version} 0/{count}] better shadows", "words\n"),
        *(
            mail(
                f"[PATCH{version} {number}/{count}] {catalogue.get_patch(patch).subjects[0]}",
                diff(patch),
            )
            for number, patch in enumerate(SEED_SERIES[:count], start=1)
        ),
    )


async def test_mails_are_read_and_matched_and_nothing_is_written(http, rows):
    answer = await http.post(FROM_MAIL, content=seed_mails())

    found = answer.json()
    assert answer.status_code == 200
    assert [entry["patch"] for entry in found["patches"]] == list(SEED_SERIES)
    assert {entry["matched_by"] for entry in found["patches"]} == {"subject"}
    assert (found["series"], found["version"], found["unmatched"]) == ("better shadows", 1, [])
    assert found["skipped"][0]["reason"] == "a cover letter"
    assert found["patch_set"] is None
    assert (await http.get("/api/v1/patch_sets")).json()["items"] == []


async def test_versions_of_a_series_are_linked(http, rows):
    first = await http.post(FROM_MAIL, params={"name": "shadows"}, content=seed_mails(2))
    second = await http.post(FROM_MAIL, params={"name": "shadows"}, content=seed_mails(3, " v2"))

    one, two = first.json()["patch_set"], second.json()["patch_set"]
    assert (first.status_code, second.status_code) == (201, 201)
    assert (one["name"], two["name"]) == ("shadows", "shadows v2")
    assert two["siblings"] == [{"id": one["id"], "name": "shadows", "version": 1}]
    now = (await http.get(first.headers["location"])).json()
    assert [entry["version"] for entry in now["siblings"]] == [2]
    again = await http.post(FROM_MAIL, params={"name": "shadows"}, content=seed_mails(2))
    assert (again.status_code, again.json()["patch_set"]["id"]) == (200, one["id"])


async def test_what_is_not_known_must_be_mapped_by_hand(http, rows):
    data = mbox(mail("[PATCH 1/2] q"), mail("[PATCH 2/2] a test for it", diff("z")))
    refused = await http.post(FROM_MAIL, params={"name": "mine"}, content=data)
    assert refused.status_code == 422
    assert refused.json()["type"] == "/problems/unreadable-series"
    assert "0 (q), 1 (a test for it)" in refused.json()["detail"]
    assert (await http.get("/api/v1/patch_sets")).json()["items"] == []

    made = await http.post(
        FROM_MAIL, params={"name": "mine", "map": ["0=zap-account", "1=-"]}, content=data
    )

    assert made.json()["patch_set"]["patches"] == ["zap-account"]
    assert [entry["matched_by"] for entry in made.json()["patches"]] == ["mapping", "left out"]


@pytest.mark.parametrize(
    ("params", "content", "status", "kind"),
    [
        ({}, b"", 422, "unreadable-series"),
        ({"version": 9}, seed_mails(1), 422, "unreadable-series"),
        ({"map": "x"}, seed_mails(1), 422, "invalid-request"),
        ({"map": "0=nothing"}, seed_mails(1), 422, "unknown-patch"),
        ({"map": "77=zap-account"}, seed_mails(1), 422, "unreadable-series"),
        ({"name": "n", "base": "v9"}, seed_mails(1), 422, "unknown-base"),
        ({}, b"x" * (MAIL_BYTES_MAX + 1), 413, "upload-too-large"),
    ],
)
async def test_mails_that_cannot_be_used_are_refused(http, rows, params, content, status, kind):
    answer = await http.post(FROM_MAIL, params=params, content=content)
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{kind}")


async def test_a_series_without_a_version_is_refused(http, rows):
    body = {"name": "n", "patches": [], "series": "s"}
    assert (await http.post("/api/v1/patch_sets", json=body)).status_code == 422
