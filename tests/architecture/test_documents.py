import re
from pathlib import Path

import pytest

from tests.architecture.source_files import ROOT, project_files

DOCUMENTS = [path for path in project_files() if path.suffix == ".md"]
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")
PATH_IN_CODE = re.compile(r"`((?:refault|db|services|worker|tests|docs|benchmarks|demo)/[\w./-]+)`")
HOUSE_WORDS = (
    "trace",
    "event",
    "patch",
    "patch set",
    "variant",
    "run",
    "shard",
    "batch",
    "counters",
    "finding",
    "comparison",
)


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_every_link_and_every_named_file_exists(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    folder = (ROOT / document).parent
    targets = [target for target, _ in LINK.findall(text) if "://" not in target]
    missing = [target for target in targets if not (folder / target).exists()]
    missing += [name for name in PATH_IN_CODE.findall(text) if not (ROOT / name).exists()]
    assert not missing


def test_the_story_of_one_trace_visits_every_room():
    story = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rooms = {
        f"{path.parts[0]}/{path.parts[1]}"
        for path in project_files()
        if path.parts[0] in {"refault", "services"}
        and path.name == "__init__.py"
        and len(path.parts) == 3
    } | {"db/", "worker/"}
    assert {"refault/trace", "services/api"} <= rooms
    assert not {room for room in rooms if room not in story}


def test_the_glossary_has_every_house_word_once():
    glossary = (ROOT / "docs" / "GLOSSARY.md").read_text(encoding="utf-8")
    for word in HOUSE_WORDS:
        assert len(re.findall(rf"^\| \*\*{word}\*\* \|", glossary, flags=re.MULTILINE)) == 1, word


def test_the_readme_names_only_verbs_the_makefile_has():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    verbs = set(re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE))
    named = set()
    for document in DOCUMENTS:
        text = (ROOT / document).read_text(encoding="utf-8")
        named |= set(re.findall(r"(?:`|^)make ([a-z]+)", text, flags=re.MULTILINE))
    assert {"demo", "test"} <= named
    assert not named - verbs


def test_decisions_are_numbered_without_gaps():
    numbers = sorted(int(path.name[:4]) for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    assert numbers == list(range(1, len(numbers) + 1))
    assert Path(ROOT / "docs" / "decisions" / "template.md").is_file()
