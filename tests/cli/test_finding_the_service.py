import http.server
import json
import os
import signal
import subprocess
import threading

import pytest

from refault.cli import service
from refault.errors import InvalidRequest
from tests.cli.running import command, environment, run
from tests.patience import PATIENCE_SECONDS


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    for name in ("REFAULT_URL", "REFAULT_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("REFAULT_DATA", str(tmp_path / "data"))
    return tmp_path


def serve_here(folder, **told):
    path = folder / "data" / "run" / "service.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(told))


def keep_token(folder, text, mode=0o600):
    path = folder / "refault" / "token"
    path.parent.mkdir()
    path.write_text(text)
    path.chmod(mode)


def test_without_a_word_it_is_the_usual_port_and_no_token():
    assert service.find() == ("http://127.0.0.1:8000", None)


def test_the_service_of_the_data_folder_brings_its_token_along(folder):
    serve_here(folder, url="http://127.0.0.1:4711", token="local")
    keep_token(folder, "http://lab mine\n")

    assert service.find() == ("http://127.0.0.1:4711", "local")
    assert service.find("http://127.0.0.1:4711/") == ("http://127.0.0.1:4711", "local")
    assert service.find("http://lab:80") == ("http://lab:80", "mine")
    assert service.find(token="given") == ("http://127.0.0.1:4711", "given")


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"url": 3}', "{"])
def test_a_data_folder_with_nonsense_in_it_is_no_service(folder, text):
    serve_here(folder)
    (folder / "data" / "run" / "service.json").write_text(text)

    assert service.find().url == service.DEFAULT_URL


def test_a_token_others_may_read_is_refused_with_the_remedy(folder):
    keep_token(folder, "http://lab mine", 0o644)

    with pytest.raises(InvalidRequest, match=r"run: chmod 600 .*/refault/token"):
        service.find()


@pytest.mark.parametrize("text", ["mine", "two words", "http://lab one two", "ftp://lab mine"])
def test_a_token_without_its_address_is_refused_with_the_remedy(folder, text):
    keep_token(folder, f"\n{text}\n")

    with pytest.raises(InvalidRequest, match=r"token: line 2:?.* http://127.0.0.1:8000"):
        service.find()


def test_a_kept_token_goes_to_its_own_address_and_to_no_other(folder):
    keep_token(folder, "http://lab:80/ of-lab\nhttps://lab of-tls\nhttp://lab:81/a of-a\n")

    assert service.find("http://LAB").token == "of-lab"
    assert service.find("https://lab:443").token == "of-tls"
    assert service.find("http://lab:81/a/").token == "of-a"
    for other in ("http://lab:81", "http://lab:443", "http://lab.example", "http://127.0.0.1"):
        assert service.find(other).token is None


def test_a_token_of_the_environment_is_that_of_the_address_beside_it(monkeypatch, folder):
    serve_here(folder, url="http://127.0.0.1:4711", token="local")
    monkeypatch.setenv("REFAULT_TOKEN", "theirs")

    assert service.find() == ("http://127.0.0.1:4711", "local")
    assert service.find("http://other").token == "theirs"
    monkeypatch.setenv("REFAULT_URL", "http://lab")
    assert service.find() == ("http://lab", "theirs")
    assert service.find("http://lab:80/").token == "theirs"
    assert service.find("http://other").token is None
    assert service.find("http://other", "given").token == "given"


@pytest.mark.parametrize(
    "url",
    ["http://203.0.113.7:8000", "http://lab", "http://127.0.0.1@203.0.113.7", "http://0.0.0.0"],
)
def test_nothing_is_sent_to_another_machine_that_a_folder_names(folder, url):
    serve_here(folder, url=url, token="theirs")

    if "@" in url:
        assert service.find().url == service.DEFAULT_URL
        return
    with pytest.raises(InvalidRequest, match="is not an address of this machine"):
        service.find()
    assert service.find("http://127.0.0.1:8000") == ("http://127.0.0.1:8000", None)


@pytest.mark.parametrize("what", ["pipe", "folder", "huge", "deep"])
def test_what_lies_where_the_data_folder_describes_its_service_may_be_anything(folder, what):
    path = folder / "data" / "run" / "service.json"
    path.parent.mkdir(parents=True)
    match what:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "huge":
            path.write_text('{"url": "http://127.0.0.1:1"}' + " " * (1 << 20))
        case "deep":
            path.write_text("[" * 60_000)

    assert service.find().url == service.DEFAULT_URL


@pytest.mark.parametrize(
    "url",
    [
        "lab",
        "ftp://lab",
        "http://",
        "http://lab:port",
        "http://[::1",
        "http://lab:65536",
        "http://me:secret@lab",
        "http://lab?x=1",
        f"http://lab:{'9' * 5000}",
    ],
)
def test_an_address_that_is_none_is_bad_input(folder, url):
    answer = run(folder, "traces", "list", "--url", url)

    assert answer.returncode == 2
    assert answer.stderr.startswith(f"refault: --url {url}: not an address")


def test_a_service_that_is_down_is_one_line_and_3(folder):
    answer = run(folder, "traces", "list", "--url", "http://127.0.0.1:1")

    assert answer.returncode == 3
    assert answer.stderr.count("\n") == 1
    assert answer.stderr.startswith("refault: cannot reach the service at http://127.0.0.1:1: ")


class Answering(http.server.BaseHTTPRequestHandler):
    """Refuses as it is told to; remembers what it was asked."""

    def do_GET(self):
        self.server.seen.append(dict(self.headers))
        status, headers = self.server.answers[
            min(len(self.server.seen), len(self.server.answers)) - 1
        ]
        if status is None:
            self.close_connection = True
            return
        problem = {"title": "No", "status": status, "detail": f"refused with {status}"}
        body = json.dumps(problem if status >= 400 else {"items": [], "next_cursor": None}).encode()
        self.send_response(status)
        kind = "problem+json" if status >= 400 else "json"
        self.send_header("content-type", f"application/{kind}")
        self.send_header("content-length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.fixture
def answering():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    server.seen, server.answers = [], [(200, {})]
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, 4), (403, 4), (404, 4), (409, 4), (413, 2), (422, 2), (429, 3), (500, 4), (503, 3)],
)
def test_every_refusal_is_its_sentence_and_an_exit_code(folder, answering, status, code):
    answering.answers = [(status, {})]

    answer = run(folder, "traces", "list", "--url", answering.url, "--token", "t0")

    assert answer.returncode == code
    assert answer.stderr == f"refault: refused with {status}\n"
    assert answering.seen[0]["authorization"] == "Bearer t0"


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_service_is_asked_again_when_it_says(folder, answering, status):
    answering.answers = [(status, {"retry-after": "1"}), (200, {})]

    answer = run(folder, "traces", "list", "--json", "--url", answering.url)

    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "[]\n", "")
    assert len(answering.seen) == 2


def test_a_service_that_wants_to_be_left_alone_for_an_hour_is(folder, answering):
    answering.answers = [(503, {"retry-after": "3600"})]

    assert run(folder, "traces", "list", "--url", answering.url).returncode == 3
    assert len(answering.seen) == 1


def test_an_answer_that_was_lost_is_asked_for_again(folder, answering):
    answering.answers = [(None, {}), (200, {})]

    answer = run(folder, "batches", "list", "--json", "--url", answering.url)

    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "[]\n", "")


def test_a_connection_that_keeps_breaking_is_one_line(folder, answering):
    answering.answers = [(None, {})]

    answer = run(folder, "batches", "list", "--url", answering.url)

    assert answer.returncode == 3
    assert answer.stderr.startswith(f"refault: cannot reach the service at {answering.url}: ")
    assert "Traceback" not in answer.stderr


def test_a_planted_folder_gets_neither_the_kept_token_nor_that_of_the_environment(
    folder, answering
):
    serve_here(folder, url=answering.url)
    keep_token(folder, "http://lab:8000 kept\n")

    answer = run(folder, "traces", "list", "--json", REFAULT_TOKEN="secret")

    assert answer.returncode == 0, answer.stderr
    assert ["authorization" in headers for headers in answering.seen] == [False]


def test_a_refusal_says_why_a_token_was_not_sent(folder, answering):
    answering.answers = [(401, {})]
    elsewhere = {"REFAULT_TOKEN": "secret", "REFAULT_URL": "http://127.0.0.1:1"}

    answer = run(folder, "traces", "list", "--url", answering.url, **elsewhere)

    assert answer.stderr == (
        "refault: refused with 401\n"
        "  REFAULT_TOKEN was not sent: it is the token of REFAULT_URL, http://127.0.0.1:1\n"
    )
    assert "authorization" not in answering.seen[0]


def test_a_redirect_is_not_followed_and_says_where_it_leads(folder, answering):
    answering.answers = [(307, {"location": "http://127.0.0.1:1/elsewhere"})]

    answer = run(folder, "traces", "list", "--url", answering.url, "--token", "t0")

    assert answer.returncode == 4
    assert "answered 307 and sends on to http://127.0.0.1:1/elsewhere; redirects" in answer.stderr
    assert len(answering.seen) == 1


def test_a_token_no_header_can_carry_is_bad_input(folder):
    answer = run(folder, "traces", "list", "--token", "a b")

    assert answer.returncode == 2
    assert "the token holds characters no token has" in answer.stderr


def test_ctrl_c_is_130_and_one_line(folder, answering):
    answering.answers = [(503, {"retry-after": "50"})]
    process = subprocess.Popen(
        command("traces", "list", "--url", answering.url),
        env=environment(folder),
        stderr=subprocess.PIPE,
        text=True,
    )
    while not answering.seen:
        assert process.poll() is None

    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE_SECONDS)

    assert (process.returncode, said) == (130, "refault: interrupted\n")


@pytest.mark.parametrize("arguments", [("patches",), ("patches", "--json"), ("--help",)])
def test_a_reader_that_goes_away_is_no_traceback(folder, arguments):
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        command(*arguments),
        env=environment(folder),
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)

    assert (process.returncode, process.stderr) == (141, "")
