"""``refault bundle``: a batch's comparison as a file that needs no service."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from refault.bundle import Bundle, Checked, layout, verify
from refault.bundle.writer import entry_of
from refault.cli import bundle_files, bundle_signing
from refault.cli.exits import ExitCode
from refault.cli.files import no_file
from refault.cli.service import AsJson, WithTimeout, WithToken, WithUrl, connect
from refault.cli.terminal import print_json
from refault.client.connection import TIMEOUT_S
from refault.compare.layout import counted
from refault.errors import BundleError, InvalidRequest

if TYPE_CHECKING:
    from refault.client import Client

app = typer.Typer(
    name="bundle",
    help="A batch's comparison as one file: pages, results, checksums.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

WithFile = Annotated[Path, typer.Argument(help="The bundle.", metavar="FILE", show_default=False)]


@app.command("fetch")
def fetch(
    batch: Annotated[str, typer.Argument(help="Code or id of the batch.", show_default=False)],
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file; default: CODE.zip here.", metavar="FILE"),
    ] = None,
    trace: Annotated[
        str | None, typer.Option(help="Digest of one trace; default: all of the batch.")
    ] = None,
    base: Annotated[int, typer.Option(help="Index of the base column, from 0.", min=0)] = 0,
    with_traces: Annotated[
        bool, typer.Option("--with-traces", help="Also put the trace files inside.")
    ] = False,
    as_json: AsJson = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = TIMEOUT_S,
) -> None:
    """Fetch a bundle: pages that open from a file, every result, checksums.

    Traces are not inside unless asked for. An existing file is replaced.

    Example: refault bundle fetch b-7k3f -o b-7k3f.zip
    """
    no_file(batch)
    target = output or Path(f"{batch}.zip")
    with connect(url, token, timeout) as client:
        target.parent.mkdir(parents=True, exist_ok=True)
        with bundle_files.replacing(target) as partial:
            client.save_bundle(batch, partial, base=base or None, trace=trace)
            if with_traces:
                _add_traces(client, partial)
    size_bytes = target.stat().st_size
    if as_json:
        print_json({"file": str(target), "size_bytes": size_bytes})
        return
    print(f"{target}: {size_bytes:,} bytes; check it with: refault bundle verify {target}")


@app.command("verify")
def check(
    file: WithFile,
    *,
    signers: Annotated[
        Path | None,
        typer.Option(
            help="Require a signature by one of this file's keys; its lines are NAME KEY "
            "(ssh-keygen's allowed signers).",
            metavar="FILE",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a bundle on this machine, without a service.

    Every file against SHA256SUMS, every result against its digest, and every verdict and page
    against what this program makes of the results. Charts are not drawn again. Without a signature
    this shows that a bundle is consistent, not who made it.

    Exit code 0: sound; 1: something is wrong; 2: not a bundle.

    Example: refault bundle verify b-7k3f.zip
    """
    with bundle_files.opened(file) as bundle:
        found = verify(bundle)
        signer = None
        if signers is not None:
            try:
                signer = bundle_signing.signer_of(bundle, signers)
            except BundleError as error:
                found.note(str(error))
    if as_json:
        print_json(_document(found, signer))
    else:
        _print(file, found, signer, is_asked=signers is not None)
    if not found.is_sound:
        raise typer.Exit(ExitCode.ANSWER_IS_NO)


@app.command("sign")
def sign(
    file: WithFile,
    *,
    key: Annotated[
        Path, typer.Option(help="Private SSH key, or a public one whose other half an agent has.")
    ],
) -> None:
    """Sign a bundle with an SSH key; needs OpenSSH's ssh-keygen.

    The signature becomes a file of the bundle, SHA256SUMS.sig; a bundle has at most one.

    Example: refault bundle sign b-7k3f.zip --key ~/.ssh/id_ed25519
    """
    with bundle_files.opened(file) as bundle:
        if layout.SIGNATURE in bundle.files:
            raise InvalidRequest(f"{file}: it is signed already")
        signature = bundle_signing.sign(bundle.read(layout.SUMS), key)
    with bundle_files.replacing(file) as partial, tempfile.NamedTemporaryFile() as written:
        written.write(signature)
        written.flush()
        bundle_files.copied(file, partial)
        with bundle_files.additions(partial) as more:
            more.add(layout.SIGNATURE, Path(written.name))
    print(f"{file}: signed; check it with: refault bundle verify {file} --signers FILE")


@app.command("import")
def import_bundle(
    file: WithFile,
    *,
    as_json: AsJson = False,
    url: WithUrl = "",
    token: WithToken = "",
    timeout: WithTimeout = TIMEOUT_S,
) -> None:
    """Import a bundle into a service, which checks all of it and shows its comparison.

    It is checked here first, as by `verify`, and sent only if nothing is wrong. Its results stay
    inside: they never count as results of that service, which says which of them it has computed
    itself, and whether they are the same. Traces inside are uploaded, each checked by its digest.

    Example: refault bundle import b-7k3f.zip
    """
    with bundle_files.opened(file) as bundle, connect(url, token, timeout) as client:
        checked = verify(bundle)
        if not checked.is_sound:
            more = f" and {checked.problem_count - 1} more" if checked.problem_count > 1 else ""
            raise BundleError(
                f"{checked.problems[0]}{more}; nothing was sent: `refault bundle verify` says all"
            )
        titles = {each.digest: each.name for each in bundle.manifest().traces()}
        captures = [name for name in bundle.files if name.startswith(layout.CAPTURES)]
        data = _without_captures(bundle) if captures else file.read_bytes()
        # First what the service checks itself; it may refuse, and then has no traces of it.
        found = client.import_bundle(data)
        for name in captures:
            _upload(client, bundle, name, titles[Path(name).stem])
        detail = client.get_imported(found["id"])
        page = f"{client.base_url}/bundles/{found['id']}"
    if as_json:
        print_json(found | {"matches": detail["matches"], "traces_uploaded": len(captures)})
        return
    matches = detail["matches"]
    print(f"{found['title']}: {detail['verdict_title']} (exit code {found['exit_code']})")
    print(
        f"  {matches['equal']} results are the same there, {len(matches['different'])} differ, "
        f"{matches['unknown']} were not computed there"
    )
    for cell in matches["different"]:
        print(f"  DIFFERS: {cell}")
    if captures:
        print(f"  {counted(len(captures), 'trace')} uploaded")
    print(page)
    if matches["different"]:
        raise typer.Exit(ExitCode.ANSWER_IS_NO)


def _add_traces(client: Client, target: Path) -> None:
    with bundle_files.opened(target) as bundle:
        digests = dict.fromkeys(bundle.manifest().digests)
    with (
        tempfile.TemporaryDirectory(dir=target.parent or ".") as folder,
        bundle_files.additions(target) as more,
    ):
        for digest in digests:
            file = Path(folder, f"{digest}.rft")
            client.download_trace(digest, file)
            more.add(bundle_files.capture_of(digest), file)
            file.unlink()


def _upload(client: Client, bundle: Bundle, name: str, title: str) -> None:
    """One trace of a bundle to the service, if its bytes are those of its name."""
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, Path(name).name)
        with path.open("wb") as stream:
            for chunk in bundle.chunks(name):
                digest.update(chunk)
                stream.write(chunk)
        if digest.hexdigest() != path.stem:
            raise BundleError(f"{name}: its bytes are not those of its name; it was not uploaded")
        client.upload_trace(path, name=title)


def _without_captures(bundle: Bundle) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in bundle.files:
            if not name.startswith(layout.CAPTURES):
                entry = entry_of(f"{bundle.folder}/{name}")
                archive.writestr(entry, bundle.read(name), compresslevel=6)
    return stream.getvalue()


def _document(found: Checked, signer: str | None) -> dict[str, object]:
    told = dataclasses.asdict(found) | {"head": found.head.to_dict()}
    return told | {"is_sound": found.is_sound, "signer": signer}


def _print(file: Path, found: Checked, signer: str | None, *, is_asked: bool) -> None:
    print(f"{found.head.title}")
    print(f"  {found.files:,} files, {found.results:,} results, {found.cells:,} cells")
    if found.captures:
        print(f"  {counted(found.captures, 'trace')} inside")
    if found.charts:
        print(f"  {counted(found.charts, 'chart')}: not drawn again, only their checksums")
    print(f"  verdict: {found.verdict or 'none'} (exit code {found.exit_code})")
    if found.has_same_maker:
        print("  pages and tables: made again from the results, and compared")
    else:
        print(f"  pages and tables: made by {found.made_by}, this is")
        print(f"  {layout.maker()}: not compared, only their checksums")
    if signer is not None:
        print(f"  signed by {signer}")
    elif found.is_signed and not is_asked:
        print("  signed; --signers FILE says whose keys are accepted")
    for problem in found.problems:
        print(f"  WRONG: {problem}")
    if found.problem_count > len(found.problems):
        print(f"  and {found.problem_count - len(found.problems):,} more")
    print(f"{file}: {'sound' if found.is_sound else 'NOT sound'}")
