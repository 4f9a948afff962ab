import ast

from tests.architecture.source_files import ROOMS, ROOT, parse, python_files

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "manager", "misc"}


def ours():
    return [
        path
        for path in python_files(*ROOMS, "benchmarks")
        if not path.as_posix().startswith("db/migrations/versions/")
    ]


def test_no_file_is_longer_than_one_can_hold_in_mind():
    lengths = {str(path): len((ROOT / path).read_text().splitlines()) for path in ours()}
    assert lengths
    too_long = {path: lines for path, lines in lengths.items() if lines > FILE_LINES_MAX}
    assert not too_long


def test_no_function_is_longer_than_a_screen():
    too_long = {}
    for path in ours():
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                line_count = node.end_lineno - node.lineno + 1
                if line_count > FUNCTION_LINES_MAX:
                    too_long[f"{path}:{node.lineno} {node.name}"] = line_count
    assert not too_long


def test_no_file_or_folder_is_named_after_nothing():
    vague = [
        str(path)
        for path in ours()
        if FORBIDDEN_NAMES & {part.removesuffix(".py") for part in path.parts}
    ]
    assert not vague
