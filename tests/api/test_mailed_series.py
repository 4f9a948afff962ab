"""Patch sets from mail over HTTP."""

import pytest

from refault import catalogue
from refault.catalogue import SEED_SERIES
from services.api.patch_sets.mails import MAIL_BYTES_MAX
from tests.series.known import teach
from tests.series.mails import diff, mail, mbox

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _known_by_made_up_diffs(monkeypatch):
    teach(monkeypatch, {patch: diff(patch) for patch in SEED_SERIES})


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
    assert {entry["matched_by"] for entry in found["patches"]} == {"diff"}
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
    assert "0 (q): not in the catalogue, 1 (a test for it)" in refused.json()["detail"]
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


async def test_a_subject_without_its_diff_is_told_as_a_candidate_with_what_can_be_done(http, rows):
    subject = catalogue.get_patch("cr4-posted").subjects[0]
    answer = await http.post(FROM_MAIL, content=mail(f"[PATCH] {subject}", diff("other")))

    [found] = answer.json()["patches"]
    assert (answer.json()["unmatched"], found["patch"], found["matched_by"]) == ([0], None, None)
    assert found["candidates"] == ["cr4-posted"]
    assert found["why"] == "its subject is that of cr4-posted, its diff is not"
    assert "map=0=cr4-posted" in answer.json()["remedies"][0]


async def test_a_series_that_is_not_whole_makes_no_patch_set_unless_that_is_meant(http, rows):
    data = mbox(
        mail("[PATCH 1/3] a", diff(SEED_SERIES[0])), mail("[PATCH 3/3] c", diff(SEED_SERIES[3]))
    )
    read = await http.post(FROM_MAIL, content=data)
    assert read.json()["problems"] == ["2/3 is missing"]

    refused = await http.post(FROM_MAIL, params={"name": "mine"}, content=data)
    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/unreadable-series")
    assert "2/3 is missing; send the whole series, or partial=true" in refused.json()["detail"]
    assert (await http.get("/api/v1/patch_sets")).json()["items"] == []

    made = await http.post(FROM_MAIL, params={"name": "mine", "partial": "true"}, content=data)
    assert made.json()["patch_set"]["patches"] == [SEED_SERIES[0], SEED_SERIES[3]]


async def test_a_file_without_a_patch_is_answered_with_each_mail_and_its_reason(http, rows):
    data = mbox(mail("Re: [PATCH] a", "words\n"), mail("[PATCH 1/2] b", "words\n"))
    answer = await http.post(FROM_MAIL, content=data)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/unreadable-series")
    assert "'Re: [PATCH] a': a reply; '[PATCH 1/2] b': no diff in it" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ('Content-Type: text/plain; charset="u\0d"', 200),
        ("Content-Type: text/plain; charset=idna", 200),
        ("Content-Type: text/plain; charset=utf-7", 200),
        ("Date: Mon, 12 Apr 99999999999 16:01:00 +0800", 200),
        ("From: " + "(" * 2_000 + ")" * 2_000, 200),
        ("Subject: [PATCH] \ud800", 200),
        (
            "".join(
                f"Content-Type: multipart/mixed; boundary=b{i}\n\n--b{i}\n" for i in range(1_000)
            ),
            422,
        ),
    ],
    ids=["a NUL", "idna", "half a character", "a year", "comments", "a surrogate", "nested parts"],
)
async def test_no_mail_makes_the_service_fail(http, rows, headers, status):
    body = diff()
    if "utf-7" in headers:
        body = body.replace("+", "+-").replace("one", "+2AA-")
    data = f"{headers}\nSubject: [PATCH] a\n\nWords.\n---\n{body}".encode("utf-8", "surrogatepass")
    answer = await http.post(FROM_MAIL, content=data)
    assert answer.status_code == status
