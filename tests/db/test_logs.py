import json
import logging
import logging.config
import subprocess
import sys

import pytest

from services.shared import logs


@pytest.fixture
def lines():
    formatter = logs.JsonLines("worker")

    def line(message, *arguments, **given):
        record = logging.LogRecord("a.b", logging.INFO, __file__, 1, message, arguments, None)
        for name, value in given.items():
            setattr(record, name, value)
        text = formatter.format(record)
        assert "\n" not in text
        return json.loads(text)

    return line


def test_a_line_is_one_object_whatever_the_message_holds(lines):
    line = lines('two\nlines and "quotes" %d', 3)
    assert line["message"] == 'two\nlines and "quotes" 3'
    assert (line["level"], line["logger"], line["room"]) == ("info", "a.b", "worker")
    assert line["time"].endswith("Z")


def test_bound_fields_are_in_every_line_of_the_block_and_in_none_after_it(lines):
    with logs.bound(request_id="r1", batch=None):
        with logs.bound(shard="s1"):
            inner = lines("x")
        outer = lines("x")
    assert (inner["request_id"], inner["shard"]) == ("r1", "s1")
    assert "shard" not in outer
    assert "batch" not in inner
    assert "request_id" not in lines("x")


def test_what_json_cannot_hold_is_written_as_text(lines):
    assert lines("x", fields={"folder": {1}})["folder"] == "{1}"


def test_the_traceback_is_part_of_the_line(lines):
    try:
        int("broken")
    except ValueError:
        assert "ValueError: invalid" in lines("x", exc_info=sys.exc_info())["exception"]


def test_lines_go_to_standard_output_and_leave_standard_error_to_crashes():
    code = (
        "import logging.config; from services.shared import logs;"
        "logging.config.dictConfig(logs.configuration('api', 'info'));"
        "logging.getLogger('x').warning('seen'); logging.getLogger('x').debug('not seen')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert [json.loads(line)["message"] for line in done.stdout.splitlines()] == ["seen"]
