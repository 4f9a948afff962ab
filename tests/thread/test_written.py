"""The report as it is written: text, Markdown, JSON and a page, from two small vectors.

``python -m tests.thread.test_written`` writes the expected files anew; read what changed.
"""

import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path

import pytest
import typer.main

from refault.audits import Level
from refault.cli.main import app
from refault.compare.layout import display_width
from refault.thread.markdown import to_markdown
from refault.thread.page import to_html
from refault.thread.review import reviewed
from refault.thread.sections import document, summary
from refault.thread.text import to_text
from refault.thread.writing import FORMATS
from tests.thread.running import ROOT, benches

EXPECTED = Path(__file__).parent / "expected"
ENDINGS = {"text": "txt", "md": "md", "json": "json", "html": "html"}
VECTORS = ("s29_lost_mark", "s13_pge_toggle")


def made():
    with benches(*VECTORS) as opened:
        return reviewed(opened, Level("flush"))


@pytest.fixture(scope="module")
def review():
    return made()


def settled(text, review):
    """Without digests: of the engine, which changes with its source, of traces with zstd's."""
    found = dict.fromkeys(review.simulators.values(), "ENGINE      ")
    found |= dict.fromkeys([each.digest for each in review.traces], "TRACE       ")
    for digest, word in found.items():  # as wide as what is shown of a digest
        text = text.replace(digest, word).replace(digest[:12], word)
    return text


@pytest.mark.parametrize("name", FORMATS)
def test_each_form_is_as_expected(review, name):
    expected = (EXPECTED / f"seed-thread.{ENDINGS[name]}").read_text(encoding="utf-8")
    assert settled(FORMATS[name](review), review) == expected


def test_no_line_of_the_text_is_wider_than_a_mail(review):
    lines = to_text(document(review)).splitlines()
    assert max(map(display_width, lines)) <= 72
    assert max(map(display_width, to_text(document(review), 48).splitlines())) <= 48


def test_the_summary_has_every_patch_and_nothing_else(review):
    told = to_text(summary(review))
    for each in review.patches:
        assert f"{each.topic.name}: " in told
    assert "What was said" not in told


class Page(HTMLParser):
    """The elements that are open, and what a page refers to."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.tags = [], [], [], []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append((tag, given))
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "a":
            self.links.append(given["href"])
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_by_itself(review):
    text = FORMATS["html"](review)
    page = Page()
    page.feed(text)
    assert page.open == []
    assert "<script" not in text
    assert not re.search(r"(?:src|href)=\"(?!#)", text)
    assert [link.removeprefix("#") for link in page.links] == page.ids
    tables = [tag for tag, _ in page.tags if tag == "table"]
    assert len(tables) == len([tag for tag, _ in page.tags if tag == "caption"])
    assert all(given.get("scope") in {"col", "row"} for tag, given in page.tags if tag == "th")


def test_what_others_wrote_cannot_break_the_page(review):
    told = document(review)
    hostile = told._replace(title='<script>"&')
    assert "<script>" not in to_html(hostile)
    assert "<script>" not in to_markdown(hostile)


def test_the_json_has_every_finding_with_its_place_cause_and_commands(review):
    told = json.loads(FORMATS["json"](review))
    [patch] = [each for each in told["patches"] if each["number"] == 3]
    [posted] = [each for each in patch["forms"] if each["variant"] == "p3"]
    first = posted["findings"][0]
    assert (first["check"], first["finding"]["operation_index"]) == ("F-U1", 1044)
    assert first["finding"]["cause"]
    assert first["commands"]["inspect"][-4:] == ["--at-operation", "1045", "--gfn", "0x105"]
    assert posted["traces"][0]["first_difference"]["operation_index"] == 1049


def commands_of(told):
    """Every command in a JSON document: a list of words that begins with refault."""
    if isinstance(told, dict):
        for value in told.values():
            yield from commands_of(value)
    elif isinstance(told, list):
        if told and told[0] == "refault":
            yield tuple(told)
        else:
            for value in told:
                yield from commands_of(value)


def test_every_command_is_one_that_the_command_line_takes(review):
    found = set(commands_of(json.loads(FORMATS["json"](review))))
    blocks = re.findall(r"```sh\n(.*?)\n```", FORMATS["md"](review))
    found |= {tuple(shlex.split(block)) for block in blocks}
    assert {words[1] for words in found} == {
        "replay", "audit", "inspect", "diverge", "report", "kernel", "import", "profile",
    }  # fmt: skip
    root = typer.main.get_command(app)
    for words in sorted(found):
        command, rest = root, list(words[1:])
        while hasattr(command, "commands"):
            command = command.commands[rest.pop(0)]
        # Raises where a word is not taken; variants and files are looked at here too.
        command.make_context("refault", rest)
        for path in [word for word in rest if word.endswith(".zst")]:
            assert (ROOT / path).is_file()


def write():
    review = made()
    EXPECTED.mkdir(exist_ok=True)
    for name, make in FORMATS.items():
        path = EXPECTED / f"seed-thread.{ENDINGS[name]}"
        path.write_text(settled(make(review), review), encoding="utf-8")


if __name__ == "__main__":
    write()
