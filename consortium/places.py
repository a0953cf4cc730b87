"""Where a consortium keeps everything: one state folder, whose layout stands here and nowhere else.

The folder and its hospitals can be entered by everybody (PostgreSQL runs as its own user), but what is secret in them,
keys, passwords and records, is readable by its owner alone.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["HospitalPlaces", "Places", "write_public", "write_secret"]


@dataclass(frozen=True, slots=True)
class HospitalPlaces:
    """One hospital's folder."""

    folder: Path

    @property
    def name(self) -> str:
        """The hospital's name."""
        return self.folder.name

    @property
    def state(self) -> Path:
        """The consortium's state folder."""
        return self.folder.parent.parent

    @property
    def site(self) -> Path:
        """What the hospital's node needs to know, as the site's own commands read it."""
        return self.folder / "site.toml"

    @property
    def key(self) -> Path:
        """The node's private key; the public one stands beside it with .pub."""
        return self.folder / "node.key"

    @property
    def data(self) -> Path:
        """The records as loaded from the database."""
        return self.folder / "data"

    @property
    def policy(self) -> Path:
        """What the hospital allows."""
        return self.folder / "policy.toml"

    @property
    def ledger(self) -> Path:
        """What its patients have paid."""
        return self.folder / "ledger.db"

    @property
    def root_certificate(self) -> Path:
        """The authority the hospital trusts: its own copy."""
        return self.folder / "ca.crt"

    @property
    def cluster(self) -> Path:
        """The database's own folder."""
        return self.folder / "postgres"

    @property
    def password(self) -> Path:
        """The database's password, as libpq's password file."""
        return self.folder / "pgpass"

    @property
    def flower(self) -> Path:
        """The home of the SuperNode's Flower."""
        return self.folder / "flwr"


@dataclass(frozen=True, slots=True)
class Places:
    """A consortium's state folder."""

    state: Path

    @property
    def facts(self) -> Path:
        """What was decided when the consortium first came up: network, addresses, ports."""
        return self.state / "consortium.json"

    @property
    def journal(self) -> Path:
        """What was started, a line each."""
        return self.state / "processes.jsonl"

    @property
    def lock(self) -> Path:
        """Held while the consortium is brought up or taken down."""
        return self.state / ".lock"

    @property
    def logs(self) -> Path:
        """A log for each process."""
        return self.state / "logs"

    @property
    def runs(self) -> Path:
        """The runs' directories, as the coordinator writes them."""
        return self.state / "runs"

    @property
    def authority(self) -> Path:
        """The certificate authority: kept offline in a real consortium."""
        return self.state / "authority"

    @property
    def coordinator(self) -> Path:
        """The SuperLink's state, certificate and key."""
        return self.state / "coordinator"

    @property
    def proxy(self) -> Path:
        """The reverse proxy's configuration, certificate and key."""
        return self.state / "proxy"

    def hospital(self, name: str) -> HospitalPlaces:
        """One hospital's folder."""
        return HospitalPlaces(self.state / "hospitals" / name)

    def make(self, hospitals: tuple[str, ...]) -> None:
        """Make the folders."""
        for folder, mode in (
            (self.state, 0o711),
            (self.state / "hospitals", 0o711),
            *((self.hospital(name).folder, 0o711) for name in hospitals),
            *((folder, 0o700) for folder in (self.authority, self.coordinator, self.proxy)),
            *((folder, 0o755) for folder in (self.logs, self.runs)),
        ):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(mode)


def write_secret(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, whole or not at all; it is never readable by others in between."""
    _write(path, content, mode=0o600)


def write_public(path: Path, content: bytes) -> None:
    """Write a file that everybody may read, whole or not at all; one that cannot be written is replaced."""
    _write(path, content, mode=0o644)


def _write(path: Path, content: bytes, *, mode: int) -> None:
    scratch = path.with_name(f".{path.name}.partial")
    scratch.unlink(missing_ok=True)
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
