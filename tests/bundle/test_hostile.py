"""Whatever a bundle's bytes are, reading it ends with an answer, or with an error that helps."""

import copy
import io
import json
import random
import struct
import zipfile

import pytest

from refault.bundle import Bundle, BundleWriter, Cell, layout, verify
from refault.bundle.judged import JudgedBatch
from refault.compare import to_dict, to_text
from refault.errors import BundleError, ComparisonError
from tests.builders import digest_of, make_report, seed_series_columns
from tests.bundle.test_bundle import changed, checked, head_of, made, rewritten, text_of

TRACE = "linux61-boot-1cpu"
REMEDY = "get the bundle again from where it was made"


def small() -> bytes:
    """Two columns, one of them audited."""
    columns = seed_series_columns(TRACE)[2:4]
    stream = io.BytesIO()
    writer = BundleWriter(stream, head_of(columns))
    audits = [None, make_report("F-U1", trace=TRACE, variant_digest=columns[1].key)]
    cells = [
        Cell("done", result=column.result, audit=audit)
        for column, audit in zip(columns, audits, strict=True)
    ]
    writer.add(TRACE, digest_of(TRACE), cells)
    writer.close()
    return stream.getvalue()


def member(data, folder) -> str:
    return next(name for name in Bundle.open(io.BytesIO(data)).files if name.startswith(folder))


def read_all(data) -> None:
    """All that the service and the command line read of a bundle."""
    bundle = Bundle.open(io.BytesIO(data))
    verify(bundle)
    manifest = bundle.manifest()
    judged = JudgedBatch(manifest.head)
    found = [
        judged.add(name, digest, manifest.cells(digest, told), limits)
        for name, digest, told, _, limits in manifest.traces()
    ]
    json.dumps([to_dict(each) for each in found], allow_nan=False)
    to_text(found, title=manifest.head.title, command=manifest.head.command, steps=judged.steps)


def answered(data) -> str:
    """What reading it says is wrong, or nothing."""
    try:
        read_all(data)
    except (BundleError, ComparisonError) as error:
        return str(error)
    return ""


@pytest.mark.parametrize("value", [0, -1, 1.5, "10", True, None, [], 1 << 70])
@pytest.mark.parametrize("name", ["operations", "permille"])
def test_a_threshold_that_is_none_is_refused_with_its_place(name, value):
    if (name, value) == ("permille", 0):
        return  # Every change counts: a project may ask for that.
    data = made()
    manifest = json.loads(text_of(data, layout.MANIFEST))
    manifest["batch"]["threshold"][name] = value

    with pytest.raises(BundleError, match=rf"manifest\.json: batch\.threshold\.{name}: .*{REMEDY}"):
        checked(changed(data, layout.MANIFEST, json.dumps(manifest)))


@pytest.mark.parametrize("word", ["Infinity", "-Infinity", "NaN", "1e999"])
def test_a_number_beyond_all_numbers_is_refused(word):
    data = made()
    text = text_of(data, layout.MANIFEST).replace('"operations": 10000', f'"operations": {word}')
    assert word in text

    with pytest.raises(BundleError, match=rf"manifest\.json: .*{REMEDY}"):
        checked(changed(data, layout.MANIFEST, text))


@pytest.mark.parametrize(
    "limit", [{"permille": -1, "absolute": None}, {"permille": "x", "absolute": None}, {}, 3, None]
)
def test_a_limit_that_is_none_is_refused(limit):
    data = made()
    manifest = json.loads(text_of(data, layout.MANIFEST))
    manifest["batch"]["threshold"]["limits"]["exits"] = limit

    with pytest.raises(BundleError, match=r"manifest\.json: batch\.threshold\.limits"):
        checked(changed(data, layout.MANIFEST, json.dumps(manifest)))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("sweeps",), "many"),
        (("level",), 3),
        (("stopped",), []),
        (("broken",), {"a": 1}),
        (("broken", 0, "count"), "3"),
        (("broken", 0, "operation_index"), None),
        (("broken", 0, "operation"), 7),
        (("broken", 0, "check"), []),
        (("broken", 0, "exception"), {}),
        (("broken", 0, "address"), 16),
        (("broken", 0, "cause"), 4),
    ],
)
def test_an_audit_with_a_field_of_another_type_is_named_by_its_file(place, value):
    data = small()
    name = member(data, layout.AUDITS)
    audit = json.loads(text_of(data, name))
    into = audit
    for key in place[:-1]:
        into = into[key]
    into[place[-1]] = value

    found = checked(changed(data, name, json.dumps(audit)))

    assert any(f"{name}: not an audit" in problem for problem in found.problems), found.problems


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("patches", ["p"] * 1_001, "at most 1,000"),
        ("parameters", "[" * 20_000, "expected an object"),
        ("parameters", "9" * 20_000, "expected an object"),
        ("parameters", {}, "expected a"),
    ],
)
def test_a_patch_set_beyond_its_bounds_is_refused(name, value, told):
    data = made()
    manifest = json.loads(text_of(data, layout.MANIFEST))
    manifest["batch"]["patch_sets"][0][name] = value

    with pytest.raises(BundleError, match=rf"batch\.patch_sets\[0\].*{told}"):
        checked(changed(data, layout.MANIFEST, json.dumps(manifest)))


def test_a_folder_that_is_not_the_batches_is_refused():
    data = made()
    text = text_of(data, layout.MANIFEST).replace('"code": "b-7k3f"', '"code": "b-9x2m"')

    with pytest.raises(BundleError, match=r"batch\.code: not that of the folder refault-b-7k3f"):
        checked(changed(data, layout.MANIFEST, text))


def test_a_title_of_several_lines_cannot_pretend_to_be_the_program():
    data = made()
    manifest = json.loads(text_of(data, layout.MANIFEST))
    manifest["batch"]["title"] = "A series\nb-7k3f.zip: sound"

    with pytest.raises(BundleError, match=r"batch\.title: the text has unprintable"):
        checked(changed(data, layout.MANIFEST, json.dumps(manifest)))


def test_a_bundle_without_a_trace_says_so_and_is_not_sound():
    data = made()
    manifest = json.loads(text_of(data, layout.MANIFEST)) | {"traces": []}

    found = checked(changed(data, layout.MANIFEST, json.dumps(manifest)))

    assert any("no pages can be made of its results" in each for each in found.problems)


def test_a_capture_that_does_not_unpack_is_one_more_problem():
    name = f"refault-b-7k3f/captures/{digest_of(TRACE)}.rft"
    data = bytearray(rewritten(made(), {}, more=[(name, b"x" * 1000)]))
    data[data.index(b"x" * 1000) + 5] ^= 0xFF

    found = checked(bytes(data))

    assert any("damaged" in each and REMEDY in each for each in found.problems), found.problems


def test_a_zip_whose_offsets_point_elsewhere_is_damaged_and_no_traceback():
    data = bytearray(made())
    # The offset of the first member in the list at the end, sent beyond the file.
    place = data.index(b"PK\x01\x02")
    struct.pack_into("<L", data, place + 42, 0xFFFF_FFF0)

    told = answered(bytes(data)) or "; ".join(checked(bytes(data)).problems)
    assert "damaged" in told


HOSTILE_VALUES = [
    *(None, True, 0, -1, 1.5, 1 << 70, "", "\x1b[31m", "x" * 30_000, "\ud800", [], {}),
    *([None], {"a": None}, "0" * 64, "f" * 64, "shadow", "done", "base"),
]


def scattered(body, chance: random.Random):
    """The body with something else in one place of it."""
    found = copy.deepcopy(body)
    places = [(found, key) for key in found]
    into, key = chance.choice(places)
    while isinstance(into[key], dict | list) and into[key] and chance.random() < 0.85:
        inside = into[key]
        keys = list(inside) if isinstance(inside, dict) else range(len(inside))
        into, key = inside, chance.choice(list(keys))
    if chance.random() < 0.15:
        del into[key]
    else:
        into[key] = chance.choice(HOSTILE_VALUES)
    return found


@pytest.mark.parametrize("folder", [layout.MANIFEST, layout.RESULTS, layout.AUDITS])
def test_any_field_may_be_anything(folder):
    data = small()
    name = member(data, folder)
    body = json.loads(text_of(data, name))
    chance = random.Random(f"fields of {folder}")
    for _ in range(150):
        forged = changed(data, name, json.dumps(scattered(body, chance)))
        assert answered(forged).isprintable()


def test_any_byte_may_be_any_other():
    data = small()
    chance = random.Random("bytes")
    for _ in range(300):
        forged = bytearray(data)
        for _ in range(chance.choice((1, 1, 4, 40))):
            forged[chance.randrange(len(forged))] = chance.randrange(256)
        if chance.random() < 0.2:
            del forged[chance.randrange(len(forged)) :]
        assert answered(bytes(forged)).isprintable()


def test_any_byte_of_a_member_may_be_any_other_though_its_sums_are_right():
    data = small()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [name.partition("/")[2] for name in archive.namelist()]
    chance = random.Random("members")
    for _ in range(150):
        name = chance.choice(names)
        text = bytearray(text_of(data, name).encode())
        text[chance.randrange(len(text))] = chance.randrange(128)
        assert answered(changed(data, name, text.decode(errors="replace"))).isprintable()
