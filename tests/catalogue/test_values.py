"""A value of a knob has one number and one name, which the catalogue and the kernels share."""

import ast
import hashlib
import json
from pathlib import Path

import pytest

import refault
from refault.catalogue import KNOBS, NAMED, PatchSet, bases, patches, resolve, values
from refault.errors import CatalogueError

LIBRARY = Path(refault.__file__).parent
SHADOW = sorted((LIBRARY / "engines" / "shadow").rglob("*.py"))
CATALOGUE = [LIBRARY / "catalogue" / "bases.py", LIBRARY / "catalogue" / "knobs.py"]
CATALOGUE += [LIBRARY / "catalogue" / "knobs_later.py"]
CATALOGUE += sorted((LIBRARY / "catalogue" / "entries").glob("*.py"))
NUMBERS = {name: value for name, value in vars(values).items() if name.isupper()}


def names_of(knob):
    """The names of a knob's values: they begin with its own."""
    return {name for name in NUMBERS if name.startswith(f"{knob.upper()}_")}


def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def named_value(node):
    """``ZAP_RETURN_FREED`` of an expression ``values.ZAP_RETURN_FREED``; else None."""
    is_named = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    return node.attr if is_named and node.value.id == "values" else None


def knob_read(node):
    """``ZAP_RETURN`` of ``vm[words.KNOB_ZAP_RETURN]`` and of ``knobs["zap_return"]``; else None."""
    if not isinstance(node, ast.Subscript):
        return None
    place, of = node.slice, node.value
    if isinstance(place, ast.Attribute) and place.attr.startswith("KNOB_"):
        return place.attr.removeprefix("KNOB_")
    is_name = isinstance(of, ast.Name) and of.id == "knobs" and isinstance(place, ast.Constant)
    return place.value.upper() if is_name else None


def test_every_value_of_every_knob_has_one_name():
    for knob in KNOBS:
        assert sorted(NUMBERS[name] for name in names_of(knob.name)) == list(knob.values)
        assert list(knob.values) == list(range(len(knob.values)))
    assert set(NUMBERS) == {name for knob in KNOBS for name in names_of(knob.name)}
    assert {type(value) for value in NUMBERS.values()} == {int}


@pytest.mark.parametrize("path", CATALOGUE, ids=lambda path: path.name)
def test_the_catalogue_writes_no_number_of_a_value(path):
    for node in ast.walk(tree_of(path)):
        if not isinstance(node, ast.Dict):
            continue
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and key.value in {knob.name for knob in KNOBS}:
                assert named_value(value) in names_of(key.value), ast.unparse(node)
            assert not (isinstance(value, ast.Constant) and isinstance(value.value, int))


def test_kernels_compare_a_knob_with_its_named_values_and_do_nothing_else_with_it():
    read = set()
    for path in SHADOW:
        for function in [n for n in ast.walk(tree_of(path)) if isinstance(n, ast.FunctionDef)]:
            # A local name a knob is read into, which is then compared like the knob itself.
            local = {
                node.targets[0].id: knob_read(node.value)
                for node in ast.walk(function)
                if isinstance(node, ast.Assign) and knob_read(node.value)
            }
            found = [node for node in ast.walk(function) if knob_read(node)]
            allowed = {
                id(node.value)
                for node in ast.walk(function)
                if isinstance(node, ast.Assign) and knob_read(node.value)
            }
            for node in ast.walk(function):
                if not isinstance(node, ast.Compare):
                    continue
                name = node.left.id if isinstance(node.left, ast.Name) else None
                knob = knob_read(node.left) or local.get(name)
                if knob is None:
                    continue
                allowed |= {id(node.left)}
                assert isinstance(node.ops[0], (ast.Eq, ast.NotEq))
                assert named_value(node.comparators[0]) in names_of(knob), ast.unparse(node)
            uses = [
                node
                for node in ast.walk(function)
                if isinstance(node, ast.Name)
                and node.id in local
                and isinstance(node.ctx, ast.Load)
            ]
            assert {id(node) for node in [*found, *uses]} <= allowed, f"{path.name} {function.name}"
            read |= {knob_read(node) for node in found}
    assert {knob.name.upper() for knob in KNOBS} == read


def test_the_digest_of_every_variant_there_is_today_stays_what_it_is():
    """Recorded when values were bare numbers: results are stored under these digests."""
    found = {name: resolve(patch_set).digest for name, patch_set in NAMED.items()}
    for base in bases():
        for patch in patches()[:33]:  # the patches of that time
            try:
                wanted = PatchSet(base.id, (*required(patch), patch.id))
                found[f"{base.id} {patch.id}"] = resolve(wanted).digest
            except CatalogueError:
                continue
    assert len(found) == 115
    text = json.dumps(found, sort_keys=True)
    assert (
        hashlib.sha256(text.encode()).hexdigest()
        == "247915fcece4c933d8fbad2c4e4bedde127d8a57c4025649f6fa073202b9456d"
    )


def required(patch):
    by_id = {each.id: each for each in patches()}
    return [name for wanted in patch.requires for name in (*required(by_id[wanted]), wanted)]
