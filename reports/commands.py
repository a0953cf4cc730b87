"""`wardround audit report | keygen | sign | verify`: an audit as a page, and the person who answers for it.

Each function is one command; `wardround.py` mounts them in the group "audit".
"""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  # Typer resolves annotations at run time
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from privacy.signatures import Statement


def keygen(
    key: Annotated[Path, typer.Argument(help="Where the private key goes; the public key goes beside it, as .pub.")],
    encrypt: Annotated[bool, typer.Option("--encrypt", help="Ask for a passphrase that opens the key.")] = False,
) -> None:
    """Make a key pair to sign with. The private key is readable by you alone; an existing file is never overwritten."""
    from privacy.signatures import create_key

    passphrase = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=True) if encrypt else None
    fingerprint = create_key(key, passphrase=passphrase.encode() if passphrase else None)
    typer.echo(f"private key: {key}  keep it to yourself\npublic key:  {key}.pub  give it to whoever verifies")
    typer.echo(f"fingerprint: {fingerprint}  say it by another way than the one the key travels")


def sign(
    folder: Annotated[Path, typer.Argument(help="The directory of an audit or a run.")],
    key: Annotated[Path, typer.Option(help="Your private key, as `wardround audit keygen` wrote it.")],
    name: Annotated[str, typer.Option(help="Who signs.")],
    role: Annotated[str, typer.Option(help="In which office, for example: data-protection officer.")] = "",
    comment: Annotated[str, typer.Option(help="What you add; it is signed too.")] = "",
) -> None:
    """Sign every file of a directory, as it is now. Several people can sign; each signs the same manifest.

    Exits 1 where the directory was signed before and is no longer what was signed.
    """
    from datetime import UTC, datetime

    from privacy.manifest import VerificationFailed
    from privacy.signatures import sign as sign_folder

    try:
        private = _unlock(key)
        statement = sign_folder(folder, private, name=name, role=role, comment=comment, at=datetime.now(UTC))
    except VerificationFailed as failure:
        raise _failed(failure) from None
    typer.echo(_describe(statement))
    typer.echo(f"manifest {statement.manifest}: from now on no file of {folder} may change")


def verify(
    folder: Annotated[Path, typer.Argument(help="The directory of an audit or a run.")],
    key: Annotated[list[Path], typer.Option(help="The public key of a person who must have signed; repeatable.")],
) -> None:
    """Check that a directory is, to the byte, what the holders of these keys signed.

    Exits 1 where a file was changed, added, removed or renamed, or a signature is missing, broken or by another key.
    """
    from privacy.manifest import VerificationFailed
    from privacy.manifest import read as read_manifest
    from privacy.signatures import fingerprint, read_public_key
    from privacy.signatures import verify as verify_folder

    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder: name the directory of a run or an audit")
    known = {fingerprint(public): public for public in map(read_public_key, key)}
    try:
        statements = verify_folder(folder, list(known.values()))
        _, files = read_manifest(folder)
    except VerificationFailed as failure:
        raise _failed(failure) from None
    typer.echo(f"{folder}: {len(files)} files are what was signed, to the byte")
    for statement in statements:
        whose = "" if statement.fingerprint in known else "; nobody gave this key, so whose it is is not known"
        typer.echo(_describe(statement) + whose)


def report(
    folder: Annotated[Path, typer.Argument(help="The directory of an audit.")],
    output: Annotated[
        Path | None, typer.Option(help="The page to write; else audit.html in the directory, unless that is signed.")
    ] = None,
    pdf: Annotated[bool, typer.Option("--pdf", help="Print it too, by the Chromium of this machine.")] = False,
) -> None:
    """Draw an audit's page again from its record, and a signed audit's copy with its signatures.

    Exits 1 where the directory was signed and is no longer what was signed.
    """
    from privacy.manifest import VerificationFailed
    from reports.audit import render_folder
    from reports.pdf import print_pdf

    try:
        text = render_folder(folder)
    except VerificationFailed as failure:
        raise _failed(failure) from None
    if output is None and (folder / "manifest.json").exists():
        raise ValueError(f"{folder} is signed, so no file in it is written again: say --output FILE for a signed copy")
    page = output or folder / "audit.html"
    page.write_text(text, encoding="utf-8")
    typer.echo(f"page: {page}")
    if pdf:
        print_pdf(page, page.with_suffix(".pdf"))
        typer.echo(f"pdf: {page.with_suffix('.pdf')}")


def _unlock(key: Path) -> Ed25519PrivateKey:
    """Read a private key, asking for its passphrase where it has one."""
    from privacy.signatures import PassphraseNeeded, read_private_key

    try:
        return read_private_key(key)
    except PassphraseNeeded:
        passphrase: str = typer.prompt("Passphrase", hide_input=True)
        return read_private_key(key, passphrase=passphrase.encode())


def _describe(statement: Statement) -> str:
    """Say in one line who signed."""
    office = f", {statement.role}" if statement.role else ""
    comment = f': "{statement.comment}"' if statement.comment else ""
    return f"signed by {statement.name}{office}, {statement.at}, key {statement.fingerprint}{comment}"


def _failed(failure: Exception) -> typer.Exit:
    typer.echo(f"wardround: {failure}", err=True)
    return typer.Exit(1)
