import ast
import importlib
import re

import pytest
import typer.main
from pydantic_settings import BaseSettings

from refault.cli.main import app
from tests.architecture.source_files import ROOMS, ROOT, parse, python_files

SETTINGS_MODULES = ("services.api.settings", "worker.settings")
ENVIRONMENT_NAME = re.compile(r"REFAULT_[A-Z][A-Z_]*[A-Z]")


def documented_variables():
    text = (ROOT / "docs" / "howto" / "run.md").read_text(encoding="utf-8")
    return set(ENVIRONMENT_NAME.findall(text))


def settings_classes():
    for module_name in SETTINGS_MODULES:
        for value in vars(importlib.import_module(module_name)).values():
            if (
                isinstance(value, type)
                and issubclass(value, BaseSettings)
                and value is not BaseSettings
            ):
                yield value


def test_every_setting_is_documented():
    classes = list(settings_classes())
    assert classes
    names = set()
    for settings in classes:
        prefix = settings.model_config["env_prefix"]
        for field_name, field in settings.model_fields.items():
            names.add(str(field.validation_alias or prefix + field_name).upper())
            assert field.description, f"{settings.__name__}.{field_name} has no description"
    assert names
    assert not names - documented_variables()


def test_every_environment_variable_the_code_reads_is_documented():
    read = set()
    for path in python_files(*ROOMS):
        for node in ast.walk(parse(path)):
            value = node.value if isinstance(node, ast.Constant) else None
            if isinstance(value, str) and ENVIRONMENT_NAME.fullmatch(value):
                read.add(value)
    assert read
    assert not read - documented_variables()


def test_no_variable_is_documented_that_nothing_reads():
    source = "".join((ROOT / path).read_text(encoding="utf-8") for path in python_files(*ROOMS))
    lower = source.lower()
    unread = {
        name
        for name in documented_variables()
        if name not in source and name.removeprefix("REFAULT_").lower() not in lower
    }
    assert not unread


def commands():
    def walk(command, path):
        children = getattr(command, "commands", {})
        if not children:
            yield path, command
        for name, child in children.items():
            yield from walk(child, f"{path} {name}")

    yield from walk(typer.main.get_command(app), "refault")


COMMANDS = dict(commands())


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_says_what_it_does_and_shows_how(path):
    command = COMMANDS[path]
    text = f"{command.help or ''}\n{command.epilog or ''}"
    assert re.search(rf"{path}\b \S", text), (
        f"the help of `{path}` shows no example beginning `{path} …`"
    )
    for parameter in command.params:
        if parameter.param_type_name == "option":
            assert parameter.help, f"`{path}`: {parameter.opts[-1]} has no help"


def test_the_readme_or_a_howto_names_every_command():
    pages = [ROOT / "README.md", *sorted((ROOT / "docs" / "howto").glob("*.md"))]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    assert not [path for path in COMMANDS if path not in text]
