"""Traces for OpenTelemetry, as a collector on loopback receives them."""

import http.server
import os
import subprocess
import sys
import threading

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from refault.client import Client
from refault.replay.compile.cache import cache_folder
from services.local.stack import Stack
from services.shared import tracing
from tests.fixtures.stack import DEMO_TRACES, QUICK
from tests.patience import PATIENCE_SECONDS, eventually

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Collector:
    """Takes what is exported by OTLP over HTTP, as protobuf."""

    def __init__(self):
        self.spans = []
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.take(self.path, self.headers, body)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def take(self, path, headers, body):
        assert (path, headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
        exported = ExportTraceServiceRequest.FromString(body)
        for resource in exported.resource_spans:
            of = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
            for scoped in resource.scope_spans:
                self.spans += [(of["service.name"], span) for span in scoped.spans]

    def find(self, service, name):
        """Every span of that name, waited for."""

        def spans():
            return [span for of, span in self.spans if (of, span.name) == (service, name)]

        return eventually(
            spans, lambda: f"{name} of {service}: {[(s, x.name) for s, x in self.spans]}"
        )

    def stop(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture(scope="module")
def collector():
    collector = Collector()
    yield collector
    collector.stop()


@pytest.fixture(scope="module")
def traced(collector, tmp_path_factory):
    settings = {
        **QUICK,
        "REFAULT_CACHE": str(cache_folder()),
        "REFAULT_OTEL_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    with Stack(tmp_path_factory.mktemp("stack"), settings=settings) as stack:
        for _ in stack.start():
            pass
        yield stack


def told(span):
    """The attributes of a span."""
    return {
        pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in span.attributes
    }


def test_one_trace_leads_from_a_request_to_its_shards(traced, collector):
    with Client(traced.url, token=traced.token) as client:
        trace = client.upload_trace(DEMO_TRACES / "linux61-boot-1cpu.rft").trace
        chosen = client.create_patch_set("one", base="v2.6.34-pre", patches=[])
    answer = httpx.post(
        f"{traced.url}/api/v1/batches",
        json={"traces": [trace["digest"]], "patch_sets": [chosen["id"]]},
        headers={
            "authorization": f"Bearer {traced.token}",
            "x-request-id": "ticket-4711",
            "traceparent": PARENT,
        },
        trust_env=False,
    )
    assert answer.status_code == 201, answer.text

    [request] = collector.find("refault-api", "POST /api/v1/batches")
    [shard] = collector.find("refault-worker", "shard")
    [record] = collector.find("refault-worker", "record")
    parts = [collector.find("refault-worker", name)[0] for name in ("fetch", "replay")]

    # The caller's own trace goes on here, and through the worker.
    assert request.trace_id.hex() == PARENT.split("-")[1]
    assert request.parent_span_id.hex() == PARENT.split("-")[2]
    assert shard.trace_id == request.trace_id
    assert shard.parent_span_id == record.parent_span_id == request.span_id
    assert {part.parent_span_id for part in parts} == {shard.span_id}
    assert told(request) == {
        "refault.request_id": "ticket-4711",
        "http.request.method": "POST",
        "http.route": "/api/v1/batches",
        "http.response.status_code": 201,
    }
    about = told(shard)
    assert about["refault.request_id"] == "ticket-4711"
    assert about["refault.batch"] == answer.json()["code"]
    assert (about["refault.attempt"], about["refault.ending"]) == (1, "computed")


def test_no_secret_of_an_address_or_a_header_is_exported(traced, collector):
    secret = "rfs_" + "S" * 43
    httpx.get(f"{traced.url}/s/{secret}?code=hidden", trust_env=False, timeout=PATIENCE_SECONDS)
    httpx.get(f"{traced.url}/healthz", trust_env=False, timeout=PATIENCE_SECONDS)
    collector.find("refault-api", "GET page")
    text = str([span for _, span in collector.spans])
    for hidden in (secret, "hidden", traced.token, "healthz"):
        assert hidden not in text


def test_what_fails_is_told_by_its_kind_and_not_in_its_words(collector, monkeypatch):
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    tracing.start("test", collector.url)
    kept = None

    def fail():
        nonlocal kept
        with tracing.span("outer", {"a": 1, "b": None}), tracing.span("inner"):
            kept = tracing.context()
            raise ValueError("a secret")

    try:
        with pytest.raises(ValueError, match="a secret"):
            fail()
        with tracing.span("later", parent=kept), tracing.span("part") as part:
            part.tell({"c": True}, name="renamed", is_error=True)
        # Nobody's context is no reason to fail.
        with tracing.span("odd", parent="00-nonsense"):
            pass
    finally:
        tracing.stop()
    outer, inner, later, renamed, odd = (
        collector.find("refault-test", name)[0]
        for name in ("outer", "inner", "later", "renamed", "odd")
    )
    assert (told(outer), told(inner)) == (
        {"a": 1, "error.type": "ValueError"},
        {"error.type": "ValueError"},
    )
    assert [span.status.code for span in (outer, inner, later, renamed)] == [2, 2, 0, 2]
    assert (inner.parent_span_id, later.parent_span_id) == (outer.span_id, inner.span_id)
    assert (renamed.parent_span_id, told(renamed)) == (later.span_id, {"c": True})
    assert odd.parent_span_id == b""
    assert "a secret" not in str([outer, inner])
    assert tracing.context() is None


def run(code, **environment):
    plain = {name: value for name, value in os.environ.items() if "OTEL" not in name}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=plain | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )


SETTINGS = {
    "REFAULT_DATABASE_URL": "postgresql://u:p@127.0.0.1:1/d",
    "REFAULT_BROKER_URL": "redis://127.0.0.1:1/0",
    "REFAULT_BLOBS": "/nowhere",
}
WITHOUT_SDK = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter")):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
"""


def test_without_an_endpoint_nothing_of_it_is_imported():
    done = run(
        "import sys\n"
        "import services.api.app, worker.app, worker.shards\n"
        "from services.shared import tracing\n"
        "tracing.start('api', '')\n"
        "with tracing.span('x', {'a': 1}, parent='y') as span:\n"
        "    span.tell({'b': 2}, name='z', is_error=True)\n"
        "assert tracing.context() is None\n"
        "print([m for m in sys.modules if m.startswith('opentelemetry.') and 'sdk' in m])\n"
        "print([m for m in sys.modules if m.startswith('opentelemetry.exporter')])\n"
    )
    assert (done.stdout, done.stderr) == ("[]\n[]\n", "")


@pytest.mark.parametrize("name", ["REFAULT_OTEL_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"])
@pytest.mark.parametrize(
    "start",
    [
        "from services.api.__main__ import main; sys.exit(main())",
        "from worker.settings import load; load()",
    ],
)
def test_an_endpoint_without_the_library_ends_the_start_with_its_name(name, start):
    done = run(WITHOUT_SDK + start, **SETTINGS, **{name: "http://127.0.0.1:4318"})
    assert done.returncode == 2
    assert "refault[otel]" in done.stderr
    assert "REFAULT_OTEL_ENDPOINT" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_endpoint_that_is_no_address_is_refused_by_name():
    done = run(
        "import sys; from services.api.__main__ import main; sys.exit(main())",
        **SETTINGS,
        REFAULT_OTEL_ENDPOINT="127.0.0.1:4318",
    )
    assert done.returncode == 2
    assert "REFAULT_OTEL_ENDPOINT: " in done.stderr
