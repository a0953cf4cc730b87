"""A Flower bundle (FAB) read as data: its hash, its files, what it says of itself, and how it is laid out to be run.

A bundle is a ZIP file that came over the network. Nothing is written anywhere before its hash was compared, names that
would leave the folder are refused, and what is laid out are exactly the bytes that an approval showed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import py_compile
import shutil
import tomllib
import zipfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

LARGEST_BYTES = 64 << 20  # of all files unpacked; Flower's own limit for a bundle is 10 MB packed
INFO = ".info/"  # Flower's list of the files, which is no part of the application


class BundleUnreadable(ValueError):
    """A file that is no Flower bundle; the message says why."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """One bundle.

    Attributes:
        digest: SHA-256 of its bytes, in hexadecimal; the name by which it is approved.
        files: every file by its path in the bundle.
        project: its ``pyproject.toml``.
    """

    digest: str
    files: dict[str, bytes] = field(repr=False)
    project: dict[str, Any] = field(repr=False)

    @property
    def name(self) -> str:
        """Publisher and name."""
        flower = self.project.get("tool", {}).get("flwr", {}).get("app", {})
        return f"{flower.get('publisher', '?')}/{self.project.get('project', {}).get('name', '?')}"

    @property
    def version(self) -> str:
        """Version."""
        return str(self.project.get("project", {}).get("version", "?"))

    @property
    def component(self) -> str:
        """The ClientApp, as ``module:attribute``.

        Raises:
            BundleUnreadable: it names none.
        """
        try:
            return str(self.project["tool"]["flwr"]["app"]["components"]["clientapp"])
        except (KeyError, TypeError):
            raise BundleUnreadable("the application names no ClientApp in its pyproject.toml") from None

    @property
    def dependencies(self) -> tuple[str, ...]:
        """What it asks to be installed, and the Python it asks for."""
        project = self.project.get("project", {})
        python = project.get("requires-python")
        return (*sorted(project.get("dependencies", ())), *([f"python {python}"] if python else ()))

    @property
    def settings(self) -> dict[str, Any]:
        """The study defaults it brings, flat."""
        return dict(_flatten(self.project.get("tool", {}).get("flwr", {}).get("app", {}).get("config", {})))


def digest_of(content: bytes) -> str:
    """Return the SHA-256 by which a bundle is known."""
    return hashlib.sha256(content).hexdigest()


def read_bundle(content: bytes) -> Bundle:
    """Read a bundle's bytes; nothing of it is run or written.

    Raises:
        BundleUnreadable: it is no ZIP file, holds unsafe or doubled names, is too large, or has no readable project.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if sum(member.file_size for member in members) > LARGEST_BYTES:
                raise BundleUnreadable(f"the bundle unpacks to more than {LARGEST_BYTES >> 20} MB")
            files = {member.filename: archive.read(member) for member in members}
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError):
        raise BundleUnreadable("the file is no Flower bundle: it is not a readable ZIP file") from None
    if len(files) < len(members) or any(not _safe(name) for name in files):
        raise BundleUnreadable("the bundle holds a name twice, or one that leads out of its folder")
    try:
        project = tomllib.loads(files["pyproject.toml"].decode())
    except (KeyError, ValueError):
        raise BundleUnreadable("the bundle has no readable pyproject.toml") from None
    return Bundle(digest_of(content), {n: c for n, c in files.items() if not n.startswith(INFO)}, project)


def load_bundle(place: Path) -> tuple[bytes, Bundle]:
    """Read a bundle from its file, or build it from an application's folder as ``flwr run`` would.

    Raises:
        BundleUnreadable: it is no bundle, or none can be built.
    """
    if not place.exists():
        raise FileNotFoundError(f"no bundle at {place}: name a .fab file or an application's folder")
    content = _build(place) if place.is_dir() else place.read_bytes()
    return content, read_bundle(content)


def _build(folder: Path) -> bytes:
    import click
    from flwr.cli.build import build_fab_from_disk

    try:
        return build_fab_from_disk(folder)
    except (click.ClickException, ValueError, OSError) as fault:
        said = fault.message if isinstance(fault, click.ClickException) else str(fault)
        raise BundleUnreadable(f"no bundle can be built from {folder}: {' '.join(said.split())}") from None


def _safe(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name and ":" not in name and bool(name)


def _flatten(table: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for key, value in table.items():
        flat += _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return flat


class Shelf:
    """Approved bundles laid out to be run, each once in the life of a gate.

    Guarantee:
        `place` returns only a folder whose every file is what was laid out, compared by hash each time: an application
        runs as the site's user and could have written there.
    """

    def __init__(self, folder: Path) -> None:
        """Name the folder; what lies in it from earlier is removed."""
        self._folder = folder
        self._known: dict[str, dict[str, str]] = {}
        _remove(folder)
        folder.mkdir(parents=True, mode=0o700)

    def place(self, bundle: Bundle) -> Path:
        """Lay a bundle out, or check that it still lies as it was laid out."""
        folder = self._folder / bundle.digest
        known = self._known.get(bundle.digest)
        if known is None or known != _hashes(folder):
            _remove(folder)
            _lay_out(bundle, folder)
            self._known[bundle.digest] = _hashes(folder)
        return folder


def _lay_out(bundle: Bundle, folder: Path) -> None:
    for name, content in bundle.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if path.suffix == ".py":
            _compile(path)
    for path in sorted(folder.rglob("*"), reverse=True):
        path.chmod(0o555 if path.is_dir() else 0o444)
    folder.chmod(0o555)


def _compile(path: Path) -> None:
    """Compile a module without running it, so that no worker has to; a faulty one fails where it is used."""
    compiled = importlib.util.cache_from_source(str(path))
    try:
        py_compile.compile(
            str(path), compiled, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
        )
    except py_compile.PyCompileError:
        return


def _hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): "link" if path.is_symlink() else digest_of(path.read_bytes())
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }


def _remove(folder: Path) -> None:
    if not folder.exists():
        return
    folder.chmod(0o700)
    for path in folder.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)
    shutil.rmtree(folder)
