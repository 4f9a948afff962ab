import json
from pathlib import Path

from services.api.batches.schemas import BatchBody
from services.api.openapi import document
from services.api.patch_sets.schemas import PatchSetBody

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"


def test_the_committed_document_is_the_one_the_code_makes():
    assert COMMITTED.read_text() == document(), (
        "run: python -m services.api.openapi > docs/openapi.json"
    )


def test_every_operation_says_what_it_does_and_how_it_refuses():
    api = json.loads(document())

    assert api["openapi"].startswith("3.1")
    for path, operations in api["paths"].items():
        for method, operation in operations.items():
            place = f"{method} {path}"
            assert operation["summary"], place
            assert operation["description"], place
            assert operation["tags"], place
            default = operation["responses"]["default"]["content"]["application/problem+json"]
            assert default["schema"] == {"$ref": "#/components/schemas/Problem"}, place


def test_every_schema_a_document_refers_to_is_in_it():
    text = document()
    schemas = json.loads(text)["components"]["schemas"]
    named = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}

    assert named <= set(schemas)
    assert "HTTPValidationError" not in schemas


def test_bodies_have_examples_that_are_valid():
    for model in (BatchBody, PatchSetBody):
        (example,) = model.model_json_schema()["examples"]
        model.model_validate(example)
