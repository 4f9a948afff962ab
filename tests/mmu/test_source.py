from refault.mmu.source import digest_of

CODE = '"""A module."""\n\ndef f(x):\n    """Adds one."""\n    return x + 1  # because\n'


def digest(tmp_path, text):
    (tmp_path / "kernel.py").write_text(text)
    return digest_of(tmp_path)


def test_comments_docstrings_and_layout_leave_the_digest_alone(tmp_path):
    before = digest(tmp_path, CODE)
    assert digest(tmp_path, "def f(x):\n\n    return (x + 1)\n") == before


def test_another_constant_is_another_simulator(tmp_path):
    assert digest(tmp_path, CODE) != digest(tmp_path, CODE.replace("+ 1", "+ 2"))


def test_another_file_is_another_simulator(tmp_path):
    before = digest(tmp_path, CODE)
    (tmp_path / "more.py").write_text("X = 1\n")
    assert digest_of(tmp_path) != before
