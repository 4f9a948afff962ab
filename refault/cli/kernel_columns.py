"""``refault submit --kernel``: a kernel of one's own, built, as patch sets of a batch."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from refault.catalogue import KERNEL
from refault.cli import own_kernel
from refault.cli.terminal import print_error
from refault.client import kernel_columns
from refault.errors import BuildFailed, InvalidRequest, NotATree, Refused

if TYPE_CHECKING:
    from refault.client import Client, KernelDocument
    from refault.client.calls import BuildPlan, Plan

_ENDINGS = (".xz", ".gz", ".bz2", ".tar", ".deb")
_NOT_FOUND = 404


@dataclasses.dataclass(frozen=True)
class Wish:
    """What a command line says of a kernel; ``word`` is a tree, an archive or a kernel's name."""

    word: str
    name: str = ""
    mails: tuple[Path, ...] = ()
    mail_version: int | None = None
    sanitize: bool = False

    @property
    def tree(self) -> Path | None:
        """The tree to be pushed; None: none is, or the word is the name of a kernel there."""
        # No word at all would be the path of the folder that one is in.
        if not self.word or self.word.startswith(KERNEL):
            return None
        path = Path(self.word)
        return path if path.exists() else None

    def check(self, plan: str) -> None:
        """Refuse what cannot be before anything is packed or asked of the service."""
        if not self.word:
            if self.name or self.mails or self.mail_version or self.sanitize:
                raise InvalidRequest(
                    "--kernel-name, --mail, --mail-version and --sanitize are for --kernel: name "
                    "a tree by it"
                )
            return
        build_plan(plan)
        if self.tree is None:
            self._check_named()

    def _check_named(self) -> None:
        if "/" in self.word or self.word.endswith(_ENDINGS):
            raise NotATree(f"{self.word}: there is no such directory or file")
        if self.name or self.mails or self.sanitize:
            raise InvalidRequest(
                f"--kernel {self.word} is no tree here, so it names a kernel of the service, and "
                "that never changes: --kernel-name, --mail and --sanitize are for a tree"
            )


def built(
    client: Client, wish: Wish, plan_text: str, *, dry_run: bool, enabled: bool
) -> KernelDocument:
    """The kernel with all that the plan needs built, or refused; that is told.

    Raises:
        BuildFailed: the tree as it is cannot be built, so that there is nothing to compare with.
    """
    plan = build_plan(plan_text)
    if wish.tree is not None:
        series = own_kernel.series_of(wish.mails, wish.mail_version)
        kernel = own_kernel.push(
            client,
            wish.tree,
            wish.name,
            series,
            sanitize=wish.sanitize,
            plan=plan,
            enabled=enabled,
        ).kernel
    else:
        kernel = _named(client, wish.word.removeprefix(KERNEL), plan, dry_run=dry_run)
    if not dry_run:
        kernel = own_kernel.awaited(client, kernel["name"], enabled=enabled)
    _tell_left_out(kernel, plan)
    if () not in kernel_columns.built(kernel):
        raise BuildFailed(
            f"{kernel['base']} as it is was not built: nothing to compare with; its log: refault "
            f"kernel show {kernel['name']} --service"
        )
    return kernel


def _named(client: Client, name: str, plan: BuildPlan, *, dry_run: bool) -> KernelDocument:
    """A kernel that is on the service, with more builds if the plan needs some."""
    try:
        kernel = client.get_kernel(name)
    except Refused as refusal:
        if refusal.status != _NOT_FOUND:
            raise
        raise NotATree(
            f"--kernel {name}: neither a tree here nor a kernel of the service (refault kernel "
            "list --service)"
        ) from refusal
    if dry_run or not kernel_columns.lacks(kernel, plan):
        return kernel
    own_kernel.require_builds(client)
    return client.request_builds(kernel["name"], plan=plan)


def _tell_left_out(kernel: KernelDocument, plan: BuildPlan) -> None:
    """Say on standard error what of the plan there will not be, and why."""
    found = [
        (
            each.build["name"],
            "a shorter prefix of it was not built"
            if each.is_behind
            else own_kernel.reason_of(each.build),
        )
        for each in kernel_columns.left_out(kernel, plan)
    ]
    for names, reason in own_kernel.by_reason(found):
        print_error(f"left out: {names}: {reason}")


def build_plan(plan: str) -> BuildPlan:
    """What is built for a plan of a batch: a matrix has a row for every prefix of the series."""
    return "series" if plan == "matrix" else own_kernel.build_plan(plan)


def sets_of(client: Client, kernel: KernelDocument, plan: Plan) -> tuple[list[str], Plan]:
    """The ids of the patch sets that give the plan its columns, of what could be built; the plan.

    That is another one for an ablation whose whole series makes no kernel: what of it does stands
    beside the tree as it is.

    Raises:
        BuildFailed: nothing that the plan needs was built.
    """
    found = kernel_columns.columns_of(kernel, plan)
    if found.plan != plan:
        print_error(
            f"{kernel['base']} was not built with all patches: what was built without one of them "
            "is compared with the tree as it is"
        )
    ids = [
        client.create_patch_set(
            kernel_columns.label_of(kernel, numbers),
            base=kernel["base"],
            patches=[str(number) for number in numbers],
        )["id"]
        for numbers in found.numbers
    ]
    return ids, found.plan
