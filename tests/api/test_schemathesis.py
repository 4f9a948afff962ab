"""Every operation of the API, with what its document allows and with what it does not.

The operations come from the document, so a new route is asked as soon as it is there.
"""

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from services.api.app import create_api
from services.api.site import Site
from tests.fixtures.api import bearer, trace_bytes

# Of each kind for each operation: the whole walk takes seconds, not minutes.
EXAMPLES = 5
CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance]
SETTINGS = hypothesis.settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[hypothesis.Phase.generate],
)

# Bodies that are bytes: a good trace, and what is none.
BINARY = (
    "application/vnd.refault.trace",
    "application/offset+octet-stream",
    "application/zip",
)
for media_type in BINARY:
    schemathesis.openapi.media_type(media_type, st.binary() | st.just(trace_bytes()))


@schemathesis.serializer(*BINARY)
def as_it_is(context, value):
    return value if isinstance(value, bytes) else repr(value).encode()


@pytest.fixture
def api(api_settings, rows, broker_url):
    api = create_api(api_settings.model_copy(update={"broker_url": broker_url}))
    rows.register_simulator()
    yield api
    api.state.resources.close()


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
def test_nothing_that_is_sent_makes_the_service_fail(api, token, mode):
    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", Site(api, None))
    asked = 0
    failures = []
    for result in schema.get_all_operations():
        operation = result.ok()
        if mode is schemathesis.GenerationMode.NEGATIVE and not _has_input(operation):
            continue
        asked += 1

        @SETTINGS
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        def ask(case):
            response = case.call(headers=bearer(token))
            case.validate_response(response, checks=CHECKS)

        try:
            ask()
        except Unsatisfiable:
            # Whatever is asked for there is allowed.
            asked -= 1
        except (Exception, BaseExceptionGroup) as failure:  # noqa: BLE001
            failures.append(f"{operation.label}: {failure}"[:1500])

    assert failures == [], "\n\n".join(failures)
    assert asked > (20 if mode is schemathesis.GenerationMode.POSITIVE else 10)


def _has_input(operation) -> bool:
    return bool(list(operation.iter_parameters())) or bool(operation.body)
