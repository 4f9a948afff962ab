import pytest

from db.models import Project
from db.repositories import webhooks
from db.session import transaction
from services.api.app import create_api
from services.api.site import Site
from tests.fixtures.api import in_process

pytestmark = pytest.mark.anyio
HOOKS = "/api/v1/webhooks"
GOOD = {"url": "https://ci.example.org/refault", "events": ["batch.finished"]}


async def test_the_secret_is_shown_once(http):
    made = await http.post(HOOKS, json=GOOD)
    assert made.status_code == 201
    body = made.json()
    assert body["secret"].startswith("whsec_")
    assert len(body["secret"]) > 40
    listed = await http.get(HOOKS)
    single = await http.get(made.headers["location"])
    assert [item["id"] for item in listed.json()["items"]] == [body["id"]]
    assert single.json()["deliveries"] == []
    assert body["secret"] not in listed.text + single.text


async def test_a_webhook_that_names_no_event_is_told_of_all(http):
    made = await http.post(HOOKS, json={"url": GOOD["url"]})
    assert made.status_code == 201, made.text
    assert set(made.json()["events"]) == {"batch.finished", "batch.failed", "integrity.alarm"}


async def test_two_webhooks_have_two_secrets(http):
    secrets = [(await http.post(HOOKS, json=GOOD)).json()["secret"] for _ in range(2)]
    assert len(set(secrets)) == 2


async def test_a_deleted_webhook_is_gone(http):
    place = (await http.post(HOOKS, json=GOOD)).headers["location"]
    assert (await http.delete(place)).status_code == 204
    assert (await http.get(place)).status_code == 404
    assert (await http.delete(place)).status_code == 404


async def test_another_projects_webhook_is_not_there(http, rows):
    with transaction(rows.engine) as session:
        other = Project(name="other")
        session.add(other)
        session.flush()
        project_id = other.id
    with transaction(rows.engine, project_id) as session:
        foreign = webhooks.add(session, GOOD["url"], GOOD["events"]).id
    assert (await http.get(HOOKS)).json()["items"] == []
    for method in ("GET", "DELETE"):
        assert (await http.request(method, f"{HOOKS}/{foreign}")).status_code == 404
    with transaction(rows.engine, project_id) as session:
        assert webhooks.get(session, foreign).id == foreign


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://example.org/", "expected https"),
        ("file:///etc/passwd", "expected https"),
        ("https:///path", "expected https"),
        ("https://user:pw@example.org/", "no user"),
        ("https://example.org/ x", "without blanks"),
        ("https://example.org/\r\nHost: inner", "is unprintable"),
        ("https://example.org:99999/", "url:"),
        ("https://example.org/#x", "no fragment"),
        ("http://127.0.0.1:5432/", "not a public address"),
        ("http://[::1]/", "not a public address"),
        ("http://[::ffff:169.254.169.254]/latest", "not a public address"),
        ("https://exämple.org/", "ASCII"),
        ("http://.../", "is not a host"),
        (f"https://{'a' * 64}.example/", "is not a host"),
        ("https://a..example/", "is not a host"),
        ("https://[v1.x]/", "is not a host"),
        ("https://[2606:4700::1%25eth0]/", "is not a host"),
        ("https://example.org/\x7f", "is unprintable"),
    ],
)
async def test_an_address_webhooks_may_not_have_is_refused_at_its_place(http, url, reason):
    answer = await http.post(HOOKS, json=GOOD | {"url": url})
    assert answer.status_code == 422
    assert reason in answer.json()["detail"]
    assert answer.json()["errors"][0]["pointer"] == "/url"
    assert (await http.get(HOOKS)).json()["items"] == []


async def test_an_operator_may_allow_a_network(api_settings, rows, token):
    api = create_api(api_settings.model_copy(update={"webhook_networks": "10.0.0.0/8, ::1/128"}))
    async with in_process(Site(api, None), token) as http:
        for url in ("http://10.1.1.1/", "http://[::1]:8080/", "http://[::ffff:10.0.0.9]/"):
            assert (await http.post(HOOKS, json=GOOD | {"url": url})).status_code == 201
        refused = await http.post(HOOKS, json=GOOD | {"url": "http://192.168.0.1/"})
    api.state.resources.close()
    assert refused.status_code == 422


async def test_an_unknown_event_and_none_at_all_are_refused(http):
    for events in (["batch.started"], []):
        answer = await http.post(HOOKS, json=GOOD | {"events": events})
        assert answer.status_code == 422


async def test_a_project_has_so_many_webhooks_and_no_more(http):
    for _ in range(webhooks.WEBHOOKS_MAX):
        assert (await http.post(HOOKS, json=GOOD)).status_code == 201
    answer = await http.post(HOOKS, json=GOOD)
    assert answer.status_code == 409
    assert str(webhooks.WEBHOOKS_MAX) in answer.json()["detail"]
