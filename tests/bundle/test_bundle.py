import hashlib
import io
import json
import subprocess
import zipfile

import pytest

from refault.bundle import (
    Bundle,
    BundleWriter,
    Cell,
    Head,
    HeadColumn,
    HeadNote,
    HeadSet,
    layout,
    verify,
)
from refault.catalogue import SEED_SERIES
from refault.compare import Limit, Threshold
from refault.errors import BundleError
from tests.builders import digest_of, make_report, seed_series_columns

TRACES = ("linux61-workload-1cpu", "linux61-boot-1cpu")
HOSTILE = "<script>alert(1)</script>\"'>&"


def head_of(columns, **given):
    fields = {
        "code": "b-7k3f",
        "title": "Series of 12 April 2010: batch b-7k3f",
        "plan": "series",
        "state": "done",
        "created_at": "2026-11-30T09:00:00+00:00",
        "finished_at": "2026-11-30T09:01:00+00:00",
        "command": ("refault", "replay", "linux61-boot-1cpu.rft"),
        "base": 0,
        "columns": tuple(
            HeadColumn(
                column.label,
                column.key,
                column.variant_name,
                column.golden_name,
                "shadow",
                "base",
                patch_set=0,
                prefix_length=place,
            )
            for place, column in enumerate(columns)
        ),
        "patch_sets": (HeadSet("series", "v2.6.34-pre", SEED_SERIES),),
        "threshold": Threshold(limits={"exits": Limit(permille=5)}),
    }
    return Head(**(fields | given))


def cells_of(columns, **given):
    return [Cell(**({"state": "done", "result": each.result} | given)) for each in columns]


def made(traces=TRACES, **given) -> bytes:
    stream = io.BytesIO()
    columns = seed_series_columns(traces[0])
    writer = BundleWriter(stream, head_of(columns, **given))
    for trace in traces:
        writer.add(trace, digest_of(trace), cells_of(seed_series_columns(trace)))
    writer.close()
    return stream.getvalue()


def changed(data, name, text) -> bytes:
    """The bundle with other bytes in one of its files; its sums are brought up to date."""
    return rewritten(data, {name: text}, sums=True)


def rewritten(data, texts, *, sums=False, more=()) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w") as new:
        folder = old.namelist()[0].partition("/")[0]
        kept = {name.partition("/")[2]: old.read(name) for name in old.namelist()}
        kept |= {name: text.encode() for name, text in texts.items()}
        if sums:
            lines = [
                f"{hashlib.sha256(body).hexdigest()}  {name}\n"
                for name, body in sorted(kept.items())
                if name != layout.SUMS
            ]
            kept[layout.SUMS] = "".join(lines).encode()
        for name, body in kept.items():
            new.writestr(f"{folder}/{name}", body)
        for entry, body in more:
            new.writestr(entry, body)
    return stream.getvalue()


def text_of(data, name) -> str:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(f"refault-b-7k3f/{name}").decode()


def checked(data):
    return verify(Bundle.open(io.BytesIO(data)))


def test_a_bundle_is_sound_and_says_what_it_holds():
    found = checked(made())

    assert found.problems == []
    assert found.is_sound
    assert (found.traces, found.cells, found.results) == (2, 14, 10)
    assert found.verdict == "GUEST-VISIBLE CHANGE"
    assert found.exit_code == 1
    assert found.head.columns[3].label == "1-3"


def test_equal_comparisons_make_equal_bytes():
    assert made() == made()


def test_sha256sum_itself_finds_every_file(tmp_path):
    with zipfile.ZipFile(io.BytesIO(made())) as archive:
        archive.extractall(tmp_path)

    done = subprocess.run(
        ["sha256sum", "--strict", "-c", "SHA256SUMS"],
        cwd=tmp_path / "refault-b-7k3f",
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "index.html: OK" in done.stdout


def test_pages_need_no_network_and_no_script():
    data = made()

    for name in Bundle.open(io.BytesIO(data)).files:
        if name.endswith(".html"):
            page = text_of(data, name)
            assert "<script" not in page
            assert "http:" not in page
            assert "https:" not in page
    assert 'href="traces/002.html"' in text_of(data, "index.html")
    assert "114,347" in text_of(data, "traces/002.html")
    assert "+18,162 (+18.9%)" in text_of(data, "traces/002.html")
    assert "parent_marks \N{MINUS SIGN}" in text_of(data, "traces/001.html")
    assert "2 traces × 7 columns" in text_of(data, "index.html")
    assert "1 trace × 7 columns" in text_of(made(TRACES[:1]), "index.html")


def test_foreign_text_is_escaped_on_every_page():
    stream = io.BytesIO()
    columns = seed_series_columns(TRACES[0])
    writer = BundleWriter(stream, head_of(columns, title=HOSTILE, command=("x", HOSTILE)))
    writer.add(HOSTILE, digest_of(TRACES[0]), cells_of(columns, error=HOSTILE, state="failed"))
    writer.close()

    for name in ("index.html", "traces/001.html"):
        page = text_of(stream.getvalue(), name)
        assert "<script" not in page
        assert "&lt;script&gt;" in page


def test_audits_and_alarms_are_carried_and_judged_again():
    stream = io.BytesIO()
    columns = seed_series_columns(TRACES[1])
    cells = [
        Cell(
            "done",
            alarm="run again, it gave other bytes" if place == 6 else None,
            result=column.result,
            audit=make_report("F-W1", trace=TRACES[1], variant_digest=column.key),
        )
        for place, column in enumerate(columns)
    ]
    writer = BundleWriter(stream, head_of(columns))
    writer.add(TRACES[1], digest_of(TRACES[1]), cells)
    writer.close()

    found = checked(stream.getvalue())

    assert found.problems == []
    assert found.verdict == "INTEGRITY ALARM"


def test_a_changed_byte_is_named_by_its_file():
    data = made()
    page = text_of(data, "index.html")

    found = checked(rewritten(data, {"index.html": page.replace("base", "b4se")}))

    assert any(problem.startswith("index.html: its sha256 is") for problem in found.problems)


def test_a_page_that_tells_something_else_is_found_though_its_sums_are_right():
    data = made()
    page = text_of(data, "index.html").replace("GUEST-VISIBLE CHANGE", "improvement")

    found = checked(changed(data, "index.html", page))

    assert found.problems == ["index.html: not what its results give"]


def test_a_forged_counter_contradicts_the_digest_that_names_the_result():
    data = made()
    names = Bundle.open(io.BytesIO(data)).files
    name = next(each for each in names if each.startswith("results/"))
    result = json.loads(text_of(data, name))
    result["counters"]["exits"] -= 1

    found = checked(changed(data, name, json.dumps(result)))

    assert any("the result has the digest" in problem for problem in found.problems)


def test_a_forged_verdict_does_not_follow_from_the_results():
    data = made()
    manifest = text_of(data, "manifest.json").replace('"regression"', '"improvement"')

    found = checked(changed(data, "manifest.json", manifest))

    assert any("by its results regression" in problem for problem in found.problems)


def test_a_result_in_another_cell_is_found():
    data = made()
    manifest = json.loads(text_of(data, "manifest.json"))
    cells = manifest["traces"][0]["cells"]
    cells[6]["result"] = cells[0]["result"]

    found = checked(changed(data, "manifest.json", json.dumps(manifest)))

    assert any("and stands in the cell of" in problem for problem in found.problems)


def test_what_another_program_made_is_judged_without_its_pages():
    data = made()
    manifest = text_of(data, "manifest.json").replace(layout.maker(), "refault 9.9 (another)")

    found = checked(changed(data, "manifest.json", manifest))

    assert found.problems == []
    assert not found.has_same_maker


def test_missing_and_added_files_are_named():
    data = made()
    without = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(without, "w") as new:
        for name in old.namelist():
            if not name.endswith("comparison.csv"):
                new.writestr(name, old.read(name))
        new.writestr("refault-b-7k3f/extra.html", "more")

    found = checked(without.getvalue())

    assert "comparison.csv: in SHA256SUMS, and not there" in found.problems
    assert "extra.html: not in SHA256SUMS" in found.problems


def entry(name, *, mode=0o100644):
    made_entry = zipfile.ZipInfo(name)
    made_entry.external_attr = mode << 16
    return made_entry


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (entry("../../etc/passwd"), "not the name of a file"),
        (entry("/etc/passwd"), "not the name of a file"),
        (entry("refault-b-7k3f/a/../../../x"), "not the name of a file"),
        (entry("refault-b-7k3f/index.html"), "there twice"),
        (entry("refault-b-7k3f/link", mode=0o120777), "a link"),
        (entry("refault-b-9x2m/other.html"), "no folder"),
        (entry("refault-b-7k3f/\x1b[31m"), "not the name of a file"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_hostile_name_is_refused_before_anything_is_unpacked(more, told):
    with pytest.raises(BundleError, match=told):
        Bundle.open(io.BytesIO(rewritten(made(), {}, more=[(more, b"x")])))


def test_a_bomb_is_refused_by_its_size():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("refault-b-7k3f/manifest.json", b" " * (layout.FILE_BYTES_MAX + 1))
        archive.writestr("refault-b-7k3f/SHA256SUMS", b"")

    with pytest.raises(BundleError, match="unpacked are too many"):
        Bundle.open(stream)


def test_a_bomb_that_lies_about_its_size_ends_where_it_said():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("refault-b-7k3f/manifest.json", b" " * 1_000_000)
        archive.writestr("refault-b-7k3f/SHA256SUMS", b"")
    size = (1_000_000).to_bytes(4, "little")
    data = stream.getvalue().replace(size, (10).to_bytes(4, "little"))

    with pytest.raises(BundleError, match=r"damaged|more than it says"):
        Bundle.open(io.BytesIO(data)).manifest()


@pytest.mark.parametrize("data", [b"", b"PK", b"not a zip" * 100, b"PK\x05\x06" + bytes(18)])
def test_another_file_is_no_bundle(data):
    with pytest.raises(BundleError):
        Bundle.open(io.BytesIO(data))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("format", "zip"),
        ("version", 4),
        ("version", True),
        ("batch", None),
        ("batch", {}),
        ("traces", {}),
        ("traces", [None]),
        ("traces", [{"name": "x", "digest": "y", "cells": [], "verdicts": []}]),
    ],
)
def test_a_manifest_that_lies_about_its_shape_is_refused(place, value):
    data = made()
    manifest = json.loads(text_of(data, "manifest.json")) | {place: value}

    with pytest.raises(BundleError):
        checked(changed(data, "manifest.json", json.dumps(manifest)))


def test_a_bundle_of_too_many_cells_is_not_begun(monkeypatch):
    monkeypatch.setattr(layout, "CELLS_MAX", 13)

    with pytest.raises(BundleError, match="take one trace"):
        made()


def test_large_comparisons_leave_out_the_files_over_all_traces(monkeypatch):
    monkeypatch.setattr(layout, "WHOLE_CELLS", 7)

    data = made()

    assert "comparison.txt" not in Bundle.open(io.BytesIO(data)).files
    assert "comparison.txt" not in text_of(data, "index.html")
    assert checked(data).problems == []


# --- charts and notes -------------------------------------------------------------------------

DRAWING = '<svg xmlns="http://www.w3.org/2000/svg" width="1"><path d="M0,0h9"/></svg>'


def drawn(svg=DRAWING, notes=()) -> bytes:
    stream = io.BytesIO()
    columns = seed_series_columns(TRACES[0])
    writer = BundleWriter(stream, head_of(columns, notes=notes), lambda _number, _document: svg)
    for trace in TRACES:
        writer.add(trace, digest_of(trace), cells_of(seed_series_columns(trace)))
    writer.close()
    return stream.getvalue()


def test_charts_stand_on_the_pages_of_their_traces():
    data = drawn()

    found = checked(data)

    assert (found.problems, found.charts) == ([], 2)
    assert '<img src="../charts/002.svg"' in text_of(data, "traces/002.html")
    assert text_of(data, "charts/002.svg") == DRAWING
    assert checked(made()).charts == 0


def test_a_chart_whose_sum_is_another_is_found():
    found = checked(rewritten(drawn(), {"charts/001.svg": DRAWING.replace("9", "8")}))

    assert any(each.startswith("charts/001.svg: its sha256 is") for each in found.problems)


@pytest.mark.parametrize(
    "svg",
    [
        DRAWING.replace("<path", "<script>alert(1)</script><path"),
        DRAWING.replace("<path", '<path onclick="alert(1)"'),
        DRAWING.replace("<path", '<a xlink:href="http://x"><path'),
        DRAWING.replace("<path", "<foreignObject/><path"),
        DRAWING.replace("<path", '<path fill="url(http://x)"'),
        DRAWING.replace("<path", '<path style="x"'),
        DRAWING.replace("<path", "<!DOCTYPE x><path"),
        DRAWING.replace("<path", "<path <"),
    ],
)
def test_a_chart_that_acts_is_no_chart(svg):
    found = checked(changed(drawn(), "charts/001.svg", svg))

    assert any(each.startswith("charts/001.svg: ") for each in found.problems), found.problems


def test_no_more_charts_are_drawn_than_a_bundle_may_have(monkeypatch):
    monkeypatch.setattr(layout, "CHARTS_MAX", 1)

    data = drawn()

    assert "charts/002.svg" not in Bundle.open(io.BytesIO(data)).files
    assert checked(data).problems == []


def test_notes_end_the_text_and_stand_on_the_pages():
    column = seed_series_columns(TRACES[1])[3]
    note = HeadNote(
        digest_of(TRACES[1]), column.key, f"see {HOSTILE}", "user anna", "2026-11-30T09:00:00Z"
    )
    data = drawn(notes=(note,))

    assert checked(data).problems == []
    assert "1-3 on linux61-boot-1cpu (anna, 30 Nov 2026):" in text_of(data, "comparison.txt")
    for name in ("index.html", "traces/002.html"):
        assert "<script" not in text_of(data, name)
        assert "see &lt;script&gt;" in text_of(data, name)
    assert "anna" not in text_of(data, "traces/001.html")


@pytest.mark.parametrize("when", ["", "yesterday", "2026-11-30T09:00:00", 3])
def test_a_note_without_a_time_is_refused(when):
    column = seed_series_columns(TRACES[1])[3]
    note = HeadNote(digest_of(TRACES[1]), column.key, "text", None, "2026-11-30T09:00:00Z")
    data = drawn(notes=(note,))
    manifest = json.loads(text_of(data, layout.MANIFEST))
    manifest["batch"]["notes"][0]["created_at"] = when

    with pytest.raises(BundleError, match=r"manifest\.json: batch\.notes\[0\]\.created_at"):
        checked(changed(data, layout.MANIFEST, json.dumps(manifest)))
