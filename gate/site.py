"""The site: one folder that holds what a hospital's node is, knows and has written.

`site.toml` names the coordinator and where the hospital's things lie; everything else has its fixed place beside it.
Relative paths are relative to the folder, so that it can be moved, backed up and restored as one.
"""

from __future__ import annotations

import fcntl
import os
import tomllib
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

SITE_FILE = "site.toml"
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class SiteUnreadable(ValueError):
    """A folder that is no site, or whose site.toml cannot be used; the message says what is wrong."""


class SiteRunning(ValueError):
    """A gate runs on this site already."""


@dataclass(frozen=True, slots=True)
class Site:
    """A site's folder and what its site.toml says; fields after ``folder`` are named after the file's keys."""

    folder: Path
    name: str
    superlink: str  # host:port of the coordinator
    root_certificate: str  # path; empty only for a coordinator on this machine
    key: str  # path of the node's private key
    data: str  # path of the hospital's folder; empty until there is one
    policy: str  # path
    ledger: str  # path or SQLAlchemy URL
    runtime_port: int = 0  # on the loopback address, between the gate and Flower; 0 takes a free one
    approvers: tuple[str, ...] = ()  # fingerprints of keys; where any are given, only approvals they signed count
    sandbox: tuple[str, ...] = ()  # words put before the command in which applications run

    def path(self, value: str) -> Path:
        """Return a path of site.toml as an absolute one."""
        return (self.folder / Path(value).expanduser()).absolute()

    @property
    def ledger_place(self) -> str:
        """The ledger as `privacy.ledger.Ledger.open` takes it."""
        return self.ledger if "://" in self.ledger else str(self.path(self.ledger))

    @property
    def secure(self) -> bool:
        """Whether the coordinator is spoken to over TLS."""
        return bool(self.root_certificate)

    @property
    def approvals(self) -> Path:
        """The record of approvals."""
        return self.folder / "approvals.jsonl"

    @property
    def approved(self) -> Path:
        """The approved bundles, by hash, kept so that the next one can be compared."""
        return self.folder / "approved"

    @property
    def logs(self) -> Path:
        """Everything that is written while the gate runs."""
        return self.folder / "log"

    @property
    def journal(self) -> Path:
        """The audit log."""
        return self.logs / "journal.jsonl"

    @property
    def timings(self) -> Path:
        """Where the time of each message went."""
        return self.logs / "timings.jsonl"

    @property
    def cache(self) -> Path:
        """What can be made again at any time."""
        return self.folder / "cache"

    @property
    def releases(self) -> Path:
        """What is known of synthetic cohorts that have left."""
        return self.folder / "releases"

    @property
    def release_key(self) -> Path:
        """The key that signs their packages."""
        return self.folder / "release.key"

    @property
    def lock(self) -> Path:
        """Held by the gate while it runs; its content is the gate's process id."""
        return self.logs / "gate.pid"


def read_site(folder: Path) -> Site:
    """Read a site's folder.

    Raises:
        SiteUnreadable: there is no site.toml, it is not TOML, a key is missing, unknown or of a wrong type, or a
            coordinator on another machine is to be spoken to without a certificate.
    """
    folder = folder.absolute()
    path = folder / SITE_FILE
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SiteUnreadable(f"{folder} is no site: it has no {SITE_FILE}; wardround site init makes one") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise SiteUnreadable(f"{path} is not TOML: {fault}") from None
    kinds = {field.name: str(field.type) for field in fields(Site) if field.name != "folder"}
    optional = {"runtime_port", "approvers", "sandbox"}
    found = {key.replace("-", "_"): value for key, value in table.items()}
    missing, unknown = sorted(kinds.keys() - optional - found.keys()), sorted(found.keys() - kinds.keys())
    if missing or unknown:
        raise SiteUnreadable(f"{path} lacks {missing or 'no'} keys and has unknown {unknown or 'no'} keys")
    site = Site(folder, **{key: _value(path, key, value, kinds[key]) for key, value in found.items()})
    if not site.secure and not site.superlink.startswith(_LOOPBACK):
        raise SiteUnreadable(f"{path}: root-certificate is empty, which only a coordinator on this machine may be")
    return site


def _value(path: Path, key: str, value: Any, kind: str) -> Any:
    if kind == "str" and isinstance(value, str):
        return value
    if kind == "int" and type(value) is int and 0 <= value <= 65535:
        return value
    if kind.startswith("tuple") and isinstance(value, list) and all(isinstance(word, str) for word in value):
        return tuple(value)
    raise SiteUnreadable(f"{path}: the key {key.replace('_', '-')} has a value of the wrong kind")


@contextmanager
def running(site: Site) -> Iterator[None]:
    """Be the one gate of a site.

    Raises:
        SiteRunning: there is one already.
    """
    site.logs.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(site.lock, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SiteRunning(f"a gate runs on {site.folder} already, process {file.read().strip()}") from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def gate_process(site: Site) -> int | None:
    """Return the process id of the gate that runs on a site; None where none does."""
    try:
        with site.lock.open("r+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read().strip() or 0)
    except FileNotFoundError:
        return None
    return None
