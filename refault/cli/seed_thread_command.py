"""``refault report seed-thread``: the thread of April 2010, answered from real guests."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from refault.audits import LEVELS, Level
from refault.cli.progress import Bars, simulator_bars
from refault.cli.trace_files import as_trace, naming
from refault.errors import InvalidParameter, NotFound

if TYPE_CHECKING:
    from refault.catalogue import Variant
    from refault.thread.measuring import Source
    from refault.thread.review import Review

_DEMO = Path(__file__).resolve().parents[2] / "demo" / "traces"
_FORMATS = ("text", "md", "html")


def seed_thread(
    traces: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Traces (.rft), and operation vectors (.ops.jsonl, also compressed); default: "
            "the captures of the demo.",
            show_default=False,
        ),
    ] = None,
    *,
    kernel: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A kernel of your own (refault kernel build) beside it."),
    ] = None,
    audit: Annotated[
        str, typer.Option(metavar="LEVEL", help=f"How closely: {', '.join(LEVELS[1:])}.")
    ] = "flush",
    output_format: Annotated[
        str, typer.Option("--format", help=f"On standard output: {', '.join(_FORMATS)}.")
    ] = "text",
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
    summary: Annotated[
        bool, typer.Option("--summary", help="The verdicts alone, as text.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Also write seed-thread.txt, .md, .json and .html."),
    ] = None,
) -> None:
    """Answer the thread of 12 April 2010 from traces: a maintainer's review of its six patches.

    For each patch and each other form that was asked for or merged: the claim, what it changes on
    each trace, what it breaks and why, what was said of it and whether the data bears it out, what
    became of it, our verdict; each figure with the command that makes it. What was computed is kept
    in the cache (REFAULT_CACHE), so that a second call takes seconds. Exit code 0 whatever the
    verdicts are; 2: a trace cannot be used.

    Example: refault report seed-thread

    Example: refault report seed-thread guest.rft --kernel mine --out report
    """
    if output_format not in _FORMATS:
        raise InvalidParameter(f"--format {output_format!r}: choose one of {', '.join(_FORMATS)}")
    if audit == LEVELS[0]:
        raise InvalidParameter(f"--audit {audit} finds no cause: choose {', '.join(LEVELS[1:])}")
    level = Level(audit)
    paths = traces or sorted(_DEMO.glob("*.rft"))
    if not paths:
        raise NotFound("the captures of the demo come with a checkout only: name traces")
    if out is not None and out.exists() and not out.is_dir():
        raise InvalidParameter(f"--out {out}: there is a file of that name; name a folder")
    own = None if kernel is None else _kernel(kernel)
    with contextlib.ExitStack() as opened:
        sources = [_source(path, opened) for path in paths]
        review = _reviewed(sources, level, own, kernel or "", has_bars=not as_json)
    if out is not None:
        _write(review, out)
    _show(review, "json" if as_json else output_format, is_short=summary and not as_json)


def _kernel(name: str) -> Variant:
    """The variant of a kernel that is built here; raises UnknownKernel."""
    from refault.catalogue import KERNEL, patch_set_from_text
    from refault.linux.variants import resolve_kernel

    return resolve_kernel(patch_set_from_text(f"{KERNEL}{name.removeprefix(KERNEL)}"))


def _source(path: Path, opened: contextlib.ExitStack) -> Source:
    """The trace as commands name it: as it was given, the demo's from where the caller is."""
    from refault.thread.measuring import Source

    if path.exists() and not path.is_file():
        raise InvalidParameter(f"{path}: it is read more than once, and must be a file")
    trace = opened.enter_context(as_trace(path))
    shown = path
    with contextlib.suppress(ValueError):
        shown = path.relative_to(Path.cwd())
    return Source(str(shown), trace.stem, trace)


def _reviewed(
    sources: list[Source], level: Level, own: Variant | None, kernel: str, *, has_bars: bool
) -> Review:
    from refault.thread.measuring import Bench
    from refault.thread.review import reviewed
    from refault.thread.shelf import Shelf

    shelf = Shelf()
    with simulator_bars(enabled=has_bars) as bars:
        benches = []
        for source in sources:
            with naming(Path(source.path)):
                benches.append(
                    Bench(source, level, shelf=shelf, progress=_Told(bars, source.name).tell)
                )
        return reviewed(benches, level, kernel=own, kernel_name=kernel)


class _Told:
    """One bar of a trace, for whatever is being computed on it."""

    def __init__(self, bars: Bars, name: str) -> None:
        self._bars = bars
        self._name = name
        self._task = bars.add_task(name, total=None)

    def tell(self, title: str, done: int, total: int) -> None:
        """Show how much of it is done."""
        self._bars.update(
            self._task,
            description=f"{self._name}: {title}",
            completed=done,
            total=total or None,
        )


def _write(review: Review, folder: Path) -> None:
    from refault.thread.writing import FORMATS

    endings = {"text": "txt"}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, write in FORMATS.items():
            path = folder / f"seed-thread.{endings.get(name, name)}"
            path.write_text(write(review), encoding="utf-8")
    except OSError as error:
        raise InvalidParameter(f"--out {folder}: cannot be written: {error.strerror}") from error


def _show(review: Review, name: str, *, is_short: bool) -> None:
    from refault.thread.sections import summary
    from refault.thread.text import to_text
    from refault.thread.writing import FORMATS

    print(to_text(summary(review)) if is_short else FORMATS[name](review), end="")
