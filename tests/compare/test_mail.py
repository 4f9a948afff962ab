"""The mail of a series: one chain over one set of traces, the culprit named, nothing too wide."""

import pytest

from refault.catalogue import SEED_SERIES
from refault.compare import compare, to_dict
from refault.compare.mail import to_mail
from tests.builders import BOOT, make_column, make_result, seed_series_columns

TRACES = ("linux61-workload-1cpu", "linux61-boot-1cpu")


def mail_of(by_trace, pairs=()):
    """The mail of a series whose columns are the prefixes, the base first."""
    first = next(iter(by_trace.values()))
    document = {
        "title": "series: batch b-1",
        "command": ["refault", "replay", "t.rft"],
        "batch": {
            "plan": "series",
            "simulators": {},
            "simulator_digest": "0" * 64,
            "patch_sets": [
                {"id": "s", "name": "series", "base": "b", "patches": list(SEED_SERIES)}
            ],
            "columns": [
                {
                    "label": column.label,
                    "patch_set_id": "s",
                    "prefix_length": length,
                    "variant": {"digest": column.key, "engine": "shadow"},
                }
                for length, column in enumerate(first)
            ],
        },
        "interactions": [each.to_dict() for each in pairs],
        "comparisons": [
            to_dict(compare(columns, trace_name=name)) for name, columns in by_trace.items()
        ],
    }
    return to_mail(document, link="http://x")


def lines_of(text):
    """To base and patch of each line of the table, where they are numbers."""
    found = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 4 and words[-1] in SEED_SERIES:
            found[words[0]] = words[-3], words[-2]
    return found


def test_the_product_of_the_steps_is_the_ratio_to_the_base_also_beside_alarms():
    """A column that misleads the guest on one trace dropped that trace, and only there."""
    text = mail_of({trace: seed_series_columns(trace) for trace in TRACES})
    rows = lines_of(text)
    product = 1.0
    for to_base, patch in rows.values():
        product *= float(patch)
        assert product == pytest.approx(float(to_base), abs=0.002)
    assert rows["1-6"] == ("1.020", "1.020")
    told = " ".join(text.split())
    assert "geometric mean of 1 trace; 'patch' is the ratio to the column before" in told
    assert "Left out in every line: linux61-boot-1cpu, with an alarm in some column." in told


def test_without_alarms_all_traces_count():
    exits = (100_000, 100_000, 90_000, 95_000, 99_000, 99_000, 120_000)
    chain = [
        make_column(f"1-{n}", make_result(variant=str(n), counters={"exits": count}))
        for n, count in enumerate(exits)
    ]
    text = mail_of({"one": chain, "two": chain})
    product = 1.0
    for to_base, patch in lines_of(text).values():
        product *= float(patch)
        assert product == pytest.approx(float(to_base), abs=0.004)
    assert "geometric mean of 2 traces" in " ".join(text.split())
    assert "Left out" not in text
    assert BOOT["base"]["exits"] > 0


def test_no_line_of_a_mail_is_wider_than_72_columns():
    text = mail_of({trace: seed_series_columns(trace) for trace in TRACES})
    assert max(map(len, text.splitlines())) <= 72
