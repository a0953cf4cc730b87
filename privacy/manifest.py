r"""A checksum manifest: which files a folder holds, and the SHA-256 of each, as one text that can be signed.

A signature over files one by one would not notice a file that was added or taken away. The manifest names all of them,
so whoever signs it signs the folder. It stands in the folder as ``manifest.json``, canonical JSON, and names neither
itself nor the signatures beside it. Names are paths below the folder with ``/``, so a manifest made on one machine
checks on another, and any tool that knows SHA-256 can check it:

    jq -r '.files | to_entries[] | "\(.value)  \(.key)"' manifest.json | sha256sum --check
"""

from __future__ import annotations

import hashlib
import json
import stat
from typing import TYPE_CHECKING, Any

from privacy.budget import canonical

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

FORMAT = "wardround-manifest-1"
MANIFEST = "manifest.json"
SIGNATURES = "signatures"
MOST_NAMED = 3  # differences named in an error; the rest are counted


class VerificationFailed(ValueError):
    """The folder is not what was signed, or not by whom; the message names the first thing that does not fit."""


def checksum(folder: Path) -> dict[str, str]:
    """Hash every file below a folder.

    Returns:
        Path below the folder → SHA-256 in hexadecimal, without the manifest and the signatures.

    Raises:
        NotADirectoryError: there is no such folder.
        ValueError: it holds a link or something else that is no plain file, or a name that is not text: what such a
            thing shows can change while every byte in the folder stays.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder: name the directory of a run or an audit")
    return {name: _sha256(path) for name, path in sorted(_files(folder, ""))}


def compose(files: Mapping[str, str]) -> bytes:
    """Return the manifest's text for checksums."""
    return canonical({"format": FORMAT, "files": dict(files)}).encode()


def read(folder: Path) -> tuple[bytes, dict[str, str]]:
    """Read a folder's manifest.

    Returns:
        Its bytes, which are what a signature covers, and the checksums in it.

    Raises:
        VerificationFailed: it is missing, damaged, or no manifest.
    """
    path = folder / MANIFEST
    if path.is_symlink() or not path.is_file():
        raise VerificationFailed(f"{folder} holds no {MANIFEST}: it was never signed, or its manifest was taken away")
    text = path.read_bytes()
    content = canonical_object(text, name=MANIFEST)
    files = content.get("files")
    if content.get("format") != FORMAT or not isinstance(files, dict) or compose(files) != text:
        raise VerificationFailed(f"{MANIFEST} is no manifest of the format {FORMAT}")
    return text, files


def compare(folder: Path, expected: Mapping[str, str]) -> None:
    """Check that a folder holds exactly the files of a manifest.

    Guarantee:
        When this returns, every file below the folder, save manifest and signatures, has the name and the bytes that
        were hashed, and there is no other.

    Raises:
        VerificationFailed: a file is changed, missing or was added; the message names the first ones.
    """
    try:
        found = checksum(folder)
    except ValueError as odd:
        raise VerificationFailed(str(odd)) from None
    differences = [
        *(f"{name} is missing" for name in expected if name not in found),
        *(f"{name} was added" for name in found if name not in expected),
        *(f"{name} was changed" for name in found if name in expected and found[name] != expected[name]),
    ]
    if differences:
        more = len(differences) - MOST_NAMED
        rest = f" and {more} more" if more > 0 else ""
        raise VerificationFailed(f"{folder} is not what was signed: {'; '.join(differences[:MOST_NAMED])}{rest}")


def canonical_object(text: bytes, *, name: str) -> dict[str, Any]:
    """Read a JSON object that must be in its canonical form, so that one meaning has one text.

    Raises:
        VerificationFailed: it is not.
    """
    try:
        content = json.loads(text)
        if isinstance(content, dict) and canonical(content).encode() == text:
            return content
    except (ValueError, RecursionError):
        pass
    raise VerificationFailed(f"{name} is damaged: it is not the canonical JSON that signing writes")


def _files(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    """Yield each file below a folder with its path in the manifest."""
    for path in folder.iterdir():
        name = f"{prefix}{path.name}"
        if name in {MANIFEST, SIGNATURES}:
            continue
        if not name.isprintable():  # a line end, or bytes that are no UTF-8
            raise ValueError(f"{name!r} cannot be signed: rename it to printable text")
        kind = path.lstat().st_mode
        if stat.S_ISDIR(kind):
            yield from _files(path, f"{name}/")
        elif stat.S_ISREG(kind):
            yield name, path
        else:
            raise ValueError(
                f"{name} is a link or no plain file, which a checksum cannot hold: put the file itself there"
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
