"""Signatures of bundles, made and checked by OpenSSH's ``ssh-keygen -Y``.

A signature is over SHA256SUMS, and so over every file but itself and the captures, which are named
by their bytes. Who may sign is OpenSSH's allowed signers file: lines ``NAME KEY``.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from refault.bundle import Bundle, layout
from refault.errors import BundleError, InvalidRequest

_SECONDS = 60
_SIGNATURE_BYTES_MAX = 1 << 16


def sign(sums: bytes, key: Path) -> bytes:
    """The signature of ``SHA256SUMS`` by a private key, or by the agent's of a public one.

    Raises:
        InvalidRequest: there is no ssh-keygen, or it does not sign with that key.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, layout.SUMS)
        file.write_bytes(sums)
        _run("-Y", "sign", "-n", layout.NAMESPACE, "-f", str(key), str(file))
        return file.with_name(layout.SIGNATURE).read_bytes()


def signer_of(bundle: Bundle, signers: Path) -> str:
    """The name under which ``signers`` allows the key that signed the bundle.

    Raises:
        BundleError: it is not signed, by nobody who is allowed, or over other files.
        InvalidRequest: there is no ssh-keygen, or no such file.
    """
    if layout.SIGNATURE not in bundle.files:
        raise BundleError("it is not signed")
    if bundle.size_of(layout.SIGNATURE) > _SIGNATURE_BYTES_MAX:
        raise BundleError(f"{layout.SIGNATURE}: too long for a signature")
    if not signers.is_file():
        raise InvalidRequest(f"{signers}: no such file; its lines are: NAME KEY")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, layout.SIGNATURE)
        file.write_bytes(bundle.read(layout.SIGNATURE))
        common = ("-s", str(file), "-f", str(signers))
        try:
            found = _run("-Y", "find-principals", *common).splitlines()
            told = ("-n", layout.NAMESPACE, "-I", found[0])
            _run("-Y", "verify", *common, *told, given=bundle.read(layout.SUMS))
        except (InvalidRequest, IndexError) as error:
            if isinstance(error, InvalidRequest) and "ssh-keygen: not" in str(error):
                raise
            raise BundleError(f"signed by nobody of {signers}, or over other files") from error
    return found[0]


def _run(*arguments: str, given: bytes = b"") -> str:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise InvalidRequest("ssh-keygen: not on this machine; OpenSSH 8.1 or later has it")
    try:
        done = subprocess.run(  # noqa: S603 - a list of words, no shell
            [program, *arguments], input=given, capture_output=True, check=False, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InvalidRequest(f"ssh-keygen: not run to its end: {error}") from error
    if done.returncode:
        told = done.stderr.decode(errors="replace").strip() or "refused"
        raise InvalidRequest(f"ssh-keygen: {told}")
    return done.stdout.decode(errors="replace")
