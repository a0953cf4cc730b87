"""What has been released of which patients before: a chained log, kept at the hospital and never in a package.

Two harmless cohorts of the same patients can harm together. So each release notes whom it was made from, what was paid,
and a copy of the rows that left, of several tables a summary of each patient; the next release of any of these patients
is judged together with them.

Patients are noted as keyed hashes, so that the folder names nobody to whoever lacks its key. Where a specification
names no key, nobody can tell whose rows they are: every earlier release without one that shares a column counts as of
the same patients. An entry is on the disk before its package appears, so a crash can only count one release too many.

The folder holds ``releases.jsonl`` (`clinical.chain`), ``hash.key``, and for each release ``N.parquet`` (rows),
``N.toml`` (specification) and ``N.patients`` (hashes), whose checksums stand in the log.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from clinical.chain import append_entry, read_chain
from privacy.accounting import PoissonGaussian
from synth.spec import read_spec, write_spec
from synth.tables import as_text, read_table, typed_table, write_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    import pandas as pd

    from synth.claims import Claim
    from synth.spec import TableSpec

LOG, KEY = "releases.jsonl", "hash.key"
_HASH_BYTES = 16
_PARTS = ("parquet", "toml", "patients")


class ReleasesDamaged(ValueError):
    """The folder of releases is not what was written; nothing can be released until somebody has looked."""


@dataclass(frozen=True, slots=True)
class Released:
    """One earlier release of some of the same patients.

    Attributes:
        number: in the log, from 1.
        spec: of its rows.
        rows: typed, as they left.
        patients: keyed hashes of whom it was made from; empty where its specification names no key.
        run: the fit's name in the ledger; "" where it claims nothing.
        event: what the fit cost them; None where it claims nothing.
    """

    number: int
    spec: TableSpec
    rows: pd.DataFrame
    patients: frozenset[bytes]
    run: str
    event: PoissonGaussian | None


class Releases:
    """A hospital's releases, in one folder, one release at a time."""

    def __init__(self, folder: Path, key: bytes) -> None:
        self._folder, self._key = folder, key

    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Iterator[Releases]:
        """Opens the folder, made with its key where there is none, and keeps other releases waiting.

        Raises:
            clinical.chain.ChainBroken: the log is not what was written.
            ReleasesDamaged: a file is missing, changed, or belongs to no entry.
        """
        from filelock import FileLock

        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(folder / "lock"):
            key = folder / KEY
            if not key.exists():
                if (folder / LOG).exists():
                    raise ReleasesDamaged(f"{key} is missing: without it nobody can tell whose releases these were")
                descriptor = os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(secrets.token_bytes(32))
            releases = cls(folder, key.read_bytes())
            releases.entries()
            yield releases

    def entries(self) -> tuple[dict[str, Any], ...]:
        """Returns the log's entries, each checked against its files."""
        found = read_chain(self._folder / LOG).entries
        for entry in found:
            for part in _PARTS:
                path = self._folder / f"{entry['number']}.{part}"
                if not path.is_file() or _sha256(path) != entry["files"][part]:
                    raise ReleasesDamaged(f"{path} is missing or is not what was released: restore it from a backup")
        stray = sorted(p.name for p in self._folder.glob("[0-9]*.*") if p.stem not in {str(e["number"]) for e in found})
        if stray:
            raise ReleasesDamaged(
                f"{self._folder / stray[0]} stands in no entry of {LOG}: a release was cut short, or the log was; "
                "remove the file only if no package of that release exists"
            )
        return found

    def hashes(self, table: pd.DataFrame, spec: TableSpec) -> list[bytes]:
        """Hashes the patient of each row with the folder's key; of no row where the specification names no key."""
        if not spec.key:
            return []
        texts = as_text(table[spec.key]).fillna("")
        return [hmac.digest(self._key, text.encode(), "sha256")[:_HASH_BYTES] for text in texts]

    def earlier(self, training: pd.DataFrame, spec: TableSpec) -> tuple[Released, ...]:
        """Returns the releases that share a patient with a training table, or may."""
        patients = set(self.hashes(training, spec))
        found = []
        for entry in self.entries():
            place = self._folder / str(entry["number"])
            other = read_spec(place.with_suffix(".toml"))
            listed = place.with_suffix(".patients").read_bytes()
            theirs = frozenset(listed[i : i + _HASH_BYTES] for i in range(0, len(listed), _HASH_BYTES))
            alike = not spec.key and not other.key and set(spec.names) & set(other.names)
            if alike or patients & theirs:
                rows = typed_table(read_table(place.with_suffix(".parquet")), other)
                event = PoissonGaussian(**entry["event"]) if entry["event"] else None
                found.append(Released(entry["number"], other, rows, theirs, entry["run"], event))
        return tuple(found)

    def record(
        self,
        training: pd.DataFrame,
        rows: pd.DataFrame,
        spec: TableSpec,
        *,
        claim: Claim | None,
        manifest: str,
        at: datetime,
    ) -> None:
        """Notes a release; it is on the disk when this returns, so only then may the package appear.

        Args:
            training: whom it was made from.
            rows: what later releases are judged with: the rows that leave, typed, or a summary of each patient.
            spec: of the rows.
            claim: what the cohort claims.
            manifest: SHA-256 of the package's manifest.
            at: when.
        """
        number = len(read_chain(self._folder / LOG).entries) + 1
        place = self._folder / str(number)
        write_rows(rows[list(spec.names)].reset_index(drop=True), place.with_suffix(".parquet"), None)
        write_spec(spec, place.with_suffix(".toml"))
        place.with_suffix(".patients").write_bytes(b"".join(sorted(set(self.hashes(training, spec)))))
        for part in _PARTS:
            path = place.with_suffix(f".{part}")
            path.chmod(0o600)
            with path.open("rb") as file:
                os.fsync(file.fileno())
        event = claim.event if claim else None
        entry = {
            "package": manifest,
            "rows": len(rows),
            "run": claim.run if claim else "",
            "event": asdict(event) if event else None,
            "files": {part: _sha256(place.with_suffix(f".{part}")) for part in _PARTS},
        }
        append_entry(self._folder / LOG, entry, at=at)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
