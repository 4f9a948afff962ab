"""A series from mails in the browser: read, mapped by hand, made a patch set."""

import base64
import gzip

import pytest

from refault.catalogue import SEED_SERIES
from services.dashboard.mails import MAIL_BYTES_MAX
from tests.api.test_mailed_series import seed_mails
from tests.dashboard.test_doors import form_key, log_in
from tests.dashboard.test_pages import HOSTILE, Page
from tests.fixtures.api import in_process
from tests.series.known import teach
from tests.series.mails import diff, mail, mbox

pytestmark = pytest.mark.anyio

READ = "/patch_sets/read"


@pytest.fixture(autouse=True)
def _known_by_made_up_diffs(monkeypatch):
    teach(monkeypatch, {patch: diff(patch) for patch in SEED_SERIES})


async def send(browser, mails=b"", **fields):
    """One step of the form, with a file."""
    key = fields.pop("form_key", None) or form_key(await browser.get("/batches"))
    return await browser.post(
        READ, data={"form_key": key, **fields}, files={"file": ("series.mbox", mails)}
    )


def kept(answer):
    [value] = [tag["value"] for tag in Page(answer).all("input") if tag.get("name") == "kept"]
    return value


async def sets(http):
    return (await http.get("/api/v1/patch_sets")).json()["items"]


@pytest.mark.parametrize("packed", [bytes, gzip.compress])
async def test_a_file_is_read_and_nothing_is_stored(anna, http, packed):
    answer = await send(anna, packed(seed_mails()))

    page = Page(answer)
    assert answer.status_code == 200
    assert "better shadows" in page.text
    assert "6 of 6 matched nothing is stored yet" in page.text
    places = [page.text.index(patch) for patch in SEED_SERIES]
    assert places == sorted(places)
    assert "1 mail left out" in page.text
    assert await sets(http) == []


async def test_what_was_read_becomes_a_patch_set_and_its_page(anna, http):
    first = await send(anna, seed_mails(2))
    carried = {"kept": kept(first), "step": "make", "name": "shadows", "base": "kvm-2010-04"}
    made = await send(anna, **carried)

    [row] = await sets(http)
    assert made.status_code == 303
    assert made.headers["location"] == f"/patch_sets/{row['id']}"
    assert (row["name"], row["base"]) == ("shadows", "kvm-2010-04")
    assert row["patches"] == list(SEED_SERIES[:2])
    page = Page(await anna.get(made.headers["location"]))
    [onwards] = [tag["href"] for tag in page.all("a") if tag["href"].startswith("/batches/new")]
    assert onwards == f"/batches/new?patch_set={row['id']}"
    assert (await anna.get(onwards)).status_code == 200
    patch = Page(await anna.get("/patches/zap-batch"))
    [onwards] = [tag["href"] for tag in patch.all("a") if tag["href"].startswith("/batches/new")]
    assert onwards == "/batches/new?patches=zap-return-self%2Bzap-batch&plan=series"
    assert (await anna.get(onwards)).status_code == 200


async def test_pasted_text_is_read_with_the_line_ends_of_a_browser(anna):
    text = seed_mails(2).decode().replace("\n", "\r\n")

    assert "2 of 2 matched" in Page(await send(anna, text=text)).text


async def test_what_is_not_known_is_mapped_by_hand_or_left_out(anna, http):
    data = mbox(mail("[PATCH 1/2] q"), mail("[PATCH 2/2] a test for it", diff("z")))
    first = await send(anna, data)
    page = Page(first)
    assert "0 of 2 matched" in page.text
    assert "not in the catalogue" in page.text
    assert "Map or leave out every mail" in page.text
    assert "--kernel ~/linux --mail my-series.mbox" in page.text
    chosen = {"kept": kept(first), "map-0": "zap-account", "map-1": "-"}

    again = await send(anna, **chosen, step="read")
    assert "1 of 2 matched" in Page(again).text
    assert [
        tag["value"] for tag in Page(again).all("option") if "selected" in tag and "value" in tag
    ] == [
        "zap-account",
        "-",
    ]
    assert await sets(http) == []

    made = await send(anna, **chosen, step="make", name="mine")
    assert made.status_code == 303
    assert [row["patches"] for row in await sets(http)] == [["zap-account"]]


async def test_a_refusal_stands_on_the_form_which_keeps_the_choices(anna, http):
    first = await send(anna, seed_mails(2))
    answer = await send(anna, kept=kept(first), step="make", name="new", base="v2.6.35.6")

    page = Page(answer)
    assert answer.status_code == 422
    assert "is in base v2.6.35.6 already" in page.text
    assert kept(answer) == kept(first)
    assert await sets(http) == []


async def test_an_incomplete_series_needs_a_yes(anna, http):
    mails = mbox(mail("[PATCH 2/3] q", diff(SEED_SERIES[1])))
    first = await send(anna, mails)
    refused = await send(anna, kept=kept(first), step="make", name="part")
    made = await send(anna, kept=kept(first), step="make", name="part", partial="yes")

    assert refused.status_code == 422
    assert "make it although mails are missing" in Page(first).text
    assert made.status_code == 303
    assert len(await sets(http)) == 1


async def test_foreign_text_is_escaped(anna):
    page = Page(await send(anna, mbox(mail(f"[PATCH] {HOSTILE}", author=HOSTILE))))

    assert [tag for tag in page.all("script") if "src" not in tag] == []
    assert page.all("img") == []


@pytest.mark.parametrize(
    ("fields", "mails", "status", "told"),
    [
        ({}, b"", 422, "no mails: choose a file, or paste them"),
        ({}, b"no mail at all", 422, ""),
        ({}, b"x" * (MAIL_BYTES_MAX + 1), 413, "more than 640 KiB"),
        ({"kept": "%%%"}, b"", 422, "begin again"),
        ({"version": "two"}, b"From x", 422, "version must be a whole number"),
        ({"form_key": "forged"}, b"From x", 403, ""),
    ],
)
async def test_bad_input_is_refused_with_the_reason(anna, fields, mails, status, told):
    answer = await send(anna, mails, **fields)

    assert answer.status_code == status
    assert told in Page(answer).text


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"a=b", "application/x-www-form-urlencoded", 422),
        (b"--x\r\n", "multipart/form-data; boundary=x", 422),
        (b"--x\r\nno head\r\n--x--", "multipart/form-data; boundary=x", 422),
        (b"--x--" * 300, "multipart/form-data; boundary=x", 422),
        (b"--x\r\n" + b"y" * (1 << 20), "multipart/form-data; boundary=x", 413),
        (
            b'--x\r\ncontent-disposition: form-data; name="name"\r\n\r\n\xff\r\n--x--',
            "multipart/form-data; boundary=x",
            422,
        ),
    ],
)
async def test_what_is_no_form_is_refused(anna, content, kind, status):
    answer = await anna.post(READ, content=content, headers={"content-type": kind})

    assert answer.status_code == status


async def test_who_may_not_submit_gets_no_form(site, rows, http):
    rows.add_user("vera", "viewer")
    async with in_process(site) as client:
        client.headers["origin"] = "http://refault.test"
        await log_in(client, name="vera")
        page = Page(await client.get(READ))
        assert page.all("textarea") == []
        assert "needs a login with the scope submit" in page.text
        key = form_key(await client.get("/batches"))
        assert (await send(client, b"From x", form_key=key)).status_code == 403
    assert "refault patches read" in Page(await http.get(READ)).text


async def test_carried_mails_are_those_that_were_sent(anna):
    mails = seed_mails(3)

    assert base64.b64decode(kept(await send(anna, mails))) == mails
