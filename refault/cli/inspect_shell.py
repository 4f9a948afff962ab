"""``refault inspect --shell``: a timeline kept open, one command a line."""

from __future__ import annotations

import cmd
import contextlib
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from refault.cli.tables import text_width
from refault.compare import layout
from refault.errors import InvalidParameter, RefaultError
from refault.questions import Where

if TYPE_CHECKING:
    from collections.abc import Sequence

    from refault.inspect.inspecting import View
    from refault.inspect.place import Timeline

#: Each command: how it is written, and what it does.
COMMANDS = {
    "at": ("at EVENT", "before that event's operations"),
    "op": ("op N", "where operation N comes next, as findings count them"),
    "end": ("end", "the end of the trace"),
    "back": ("back [N]", "N operations earlier; default 1"),
    "forward": ("forward [N]", "N operations later; default 1"),
    "until": (
        "until WHAT",
        "back to right after the latest `zap gfn G` (or get, sync, unsync)",
    ),
    "next": ("next WHAT", "on to right after the next one of these"),
    "change": ("change A", "back to right after the latest change of an entry of address A"),
    "gva": ("gva A", "both walks of that guest address, and their history"),
    "gfn": ("gfn G", "the shadow pages of that guest table, the leaves that map the frame"),
    "page": ("page N", "that shadow page, in use or not, and its history"),
    "vcpu": ("vcpu C", "that vCPU; for addresses, as it walks"),
    "all": ("all", "every vCPU, and all pages counted"),
    "show": ("show", "the same once more"),
    "notation": ("notation", "how pages, entries and marks are written"),
    "quit": ("quit", "so does the end of input"),
}
_INTRO = """\
Commands: at EVENT, op N, end, back [N], forward [N], until WHAT, next WHAT, change A,
gva A, gfn G, page N, vcpu C, all, show, notation, quit. `help` says what they do.
"""
_TRACEPOINTS = ("get gfn ", "sync gfn ", "unsync gfn ", "zap gfn ")


class Shell(cmd.Cmd):
    """Takes commands, shows views; an error ends no session."""

    intro = _INTRO

    def __init__(self, path: Path, label: str, timeline: Timeline, where: Where) -> None:
        super().__init__()
        self._path, self._label, self._timeline = path, label, timeline
        self._where = where
        self.prompt = f"{label}> "
        if not sys.stdin.isatty():
            # A script has no use for either.
            self.prompt, self.intro = "", ""
            self.use_rawinput = False

    def run(self) -> None:
        """Show the place it was opened at, then take commands until `quit` or the end of input."""
        self._go(self._where)
        while True:
            try:
                self.cmdloop()
            except KeyboardInterrupt:
                print(file=self.stdout)
                self.intro = ""
            else:
                return

    # --- where -----------------------------------------------------------------------------------

    def do_at(self, line: str) -> None:
        """Go before an event."""
        self._move(event=_number(line))

    def do_op(self, line: str) -> None:
        """Go before an operation."""
        self._move(operation=_number(line))

    def do_end(self, line: str) -> None:
        """Go to the end."""
        _nothing(line)
        self._move()

    def do_back(self, line: str) -> None:
        """Go back."""
        here, count = self._where.operation or 0, _number(line, 1)
        if count > here:
            raise InvalidParameter(f"back {count:,}: there are {here:,} operations before")
        self._move(operation=here - count)

    def do_forward(self, line: str) -> None:
        """Go on."""
        self._move(operation=(self._where.operation or 0) + _number(line, 1))

    def do_until(self, line: str) -> None:
        """Go back to a tracepoint."""
        self._move(operation=self._where.operation, until=line)

    def do_next(self, line: str) -> None:
        """Go on to a tracepoint."""
        self._move(operation=self._where.operation, until=line, forward=True)

    def do_change(self, line: str) -> None:
        """Go back to a change."""
        self._view("until_change", line.removeprefix("gva "))  # as the option of the command has it

    # --- what ------------------------------------------------------------------------------------

    def do_gva(self, line: str) -> None:
        """Show an address."""
        self._view("gva", line)

    def do_gfn(self, line: str) -> None:
        """Show a frame."""
        self._view("gfn", line)

    def do_page(self, line: str) -> None:
        """Show a shadow page."""
        self._view("page", line)

    def do_vcpu(self, line: str) -> None:
        """Show a vCPU."""
        self._go(dataclasses.replace(self._where, vcpu=_number(line)))

    def do_all(self, line: str) -> None:
        """Show the whole host."""
        _nothing(line)
        self._go(Where(operation=self._where.operation))

    def do_show(self, line: str) -> None:
        """Show the same."""
        _nothing(line)
        self._go(self._where)

    def do_notation(self, line: str) -> None:
        """Explain the notation."""
        from refault.inspect.text import legend_text

        _nothing(line)
        print(legend_text(), file=self.stdout)

    def do_help(self, arg: str) -> None:
        """Every command with what it does, or one."""
        name = arg.strip()
        if name and name not in COMMANDS:
            raise InvalidParameter(f"{name}: no such command; `help` lists them")
        for form, does in [COMMANDS[name]] if name else COMMANDS.values():
            lines = layout.wrap(does, text_width(72), first=f"{form:12}  ", indent=" " * 14)
            print("\n".join(lines), file=self.stdout)

    def do_quit(self, line: str) -> bool:
        """End."""
        _nothing(line)
        return True

    do_EOF = do_quit  # noqa: N815 - the name cmd gives the end of input

    def complete_until(self, text: str, line: str, begin: int, end: int) -> Sequence[str]:
        """The tracepoints that `until` and `next` know."""
        del begin, end
        typed = line.partition(" ")[2]
        skipped = len(typed) - len(text)
        return [each[skipped:] for each in _TRACEPOINTS if each.startswith(typed)]

    complete_next = complete_until

    # --- how -------------------------------------------------------------------------------------

    def emptyline(self) -> bool:
        """An empty line repeats nothing."""
        return False

    def default(self, line: str) -> None:
        """Told of a command that is none."""
        raise InvalidParameter(f"{line.split(maxsplit=1)[0]}: no such command; `help` lists them")

    def onecmd(self, line: str) -> bool:
        """One command; what is wrong with it is said, and the session goes on."""
        try:
            return bool(super().onecmd(line))
        except RefaultError as error:
            print(f"refault: {error}", file=sys.stderr)
            return False

    def _move(self, **place: int | str | bool | None) -> None:
        where = self._where
        views = {"gva": where.gva, "gfn": where.gfn, "page": where.page, "vcpu": where.vcpu}
        self._go(Where(**place, **views))  # type: ignore[arg-type]

    def _view(self, name: str, line: str) -> None:
        here = Where(operation=self._where.operation, vcpu=self._where.vcpu)
        self._go(dataclasses.replace(here, **{name: _number(line)}))  # type: ignore[arg-type]

    def _go(self, where: Where) -> None:
        """Show a place, and stay there."""
        from refault.inspect.inspecting import look

        view = look(self._timeline, where)
        self._where = dataclasses.replace(
            where,
            event=None,
            operation=view.operation_index,
            back=0,
            until=None,
            forward=False,
            gva=where.gva if where.gva is not None else where.until_change,
            until_change=None,
        )
        self._print(view, where)

    def _print(self, view: View, where: Where) -> None:
        from refault.inspect.text import Told, options_of, view_text

        command = ["refault", "inspect", str(self._path), "-v", self._label]
        command += options_of(view, where)
        print(
            view_text(view, Told(self._path.name, self._label, command, has_legend=False)),
            file=self.stdout,
        )


def _number(line: str, default: int | None = None) -> int:
    words = line.split()
    if not words and default is not None:
        return default
    if not words:
        raise InvalidParameter("a number is missing, such as 0x400000 or 1024")
    with contextlib.suppress(ValueError):
        if len(words) == 1 and (found := int(words[0], 0)) >= 0:
            return found
    raise InvalidParameter(f"{line!r}: expected one number, such as 0x400000 or 1024")


def _nothing(line: str) -> None:
    if line:
        raise InvalidParameter(f"{line!r}: nothing comes after this command")
