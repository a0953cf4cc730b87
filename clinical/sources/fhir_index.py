"""What a FHIR export must remember across files, on disk: who is who, which encounter is whose, what was seen.

References point anywhere in an export, and an export is larger than memory. Patients, encounters, medications and
locations are therefore staged first, in a temporary SQLite file beside the hospital being written (never in the
system's temporary folder, which may not be a place for patient data); it is gone when the ingest ends.
"""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from clinical.sources.scratch import Scratch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Encounter", "FhirIndex", "Period", "resource_keys", "target_keys"]

Period = tuple[datetime | None, datetime | None]

_TABLES: Final = """
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = FILE;
CREATE TABLE patients (key TEXT PRIMARY KEY, subject_id INTEGER) WITHOUT ROWID;
CREATE TABLE subjects (subject_id INTEGER PRIMARY KEY, name TEXT);
CREATE TABLE encounters (key TEXT PRIMARY KEY, patient TEXT, hadm_id INTEGER, began TEXT, ended TEXT) WITHOUT ROWID;
CREATE TABLE admissions (hadm_id INTEGER PRIMARY KEY, name TEXT);
CREATE TABLE named (key TEXT PRIMARY KEY, name TEXT) WITHOUT ROWID;
CREATE TABLE seen (key BLOB PRIMARY KEY, digest BLOB) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Encounter:
    """An encounter as other resources need it.

    Attributes:
        subject_id: whose it is.
        hadm_id: its admission; None unless it is an inpatient encounter.
        began: its start; None when unknown.
        ended: its end; None when unknown or not yet.
    """

    subject_id: int
    hadm_id: int | None
    began: datetime | None
    ended: datetime | None

    @property
    def discharged(self) -> datetime | None:
        """When an inpatient encounter ended: by then what was coded about it is known."""
        return self.ended if self.hadm_id is not None else None


def resource_keys(kind: str, identifier: str, full_url: str) -> list[str]:
    """Give the names under which a resource can be referred to, its own first; none when it has no identity.

    >>> resource_keys("Patient", "7", "urn:uuid:7"), resource_keys("Patient", "", "")
    (['Patient/7', 'urn:uuid:7'], [])
    """
    own = [f"{kind}/{identifier}"] if identifier else []
    if full_url.startswith("urn:"):
        return [*own, full_url]
    return own or ([full_url] if full_url else [])


def target_keys(reference: str, kind: str) -> list[str]:
    """Give the names that a reference may mean, the most literal first.

    >>> target_keys("https://h.org/fhir/Patient/7/_history/2", "Patient"), target_keys("urn:uuid:7", "Patient")
    (['Patient/7'], ['urn:uuid:7', 'Patient/7'])
    """
    bare = reference.split("/_history/", maxsplit=1)[0].split("#", maxsplit=1)[0]
    if bare.startswith("urn:"):
        return [bare, f"{kind}/{bare.rsplit(':', 1)[-1]}"]
    parts = bare.split("/")
    if len(parts) >= 2 and parts[-2] == kind:
        return [f"{kind}/{parts[-1]}"]
    return [bare] if bare else []


class FhirIndex(Scratch):
    """The staged resources of one export; a context manager.

    Args:
        folder: existing folder in which the temporary file is made.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, _TABLES)
        self.patients = 0
        self.admissions = 0
        self._find_patient = lru_cache(maxsize=1 << 14)(self._look_up_patient)
        self._find_encounter = lru_cache(maxsize=1 << 14)(self._look_up_encounter)

    def add_patient(self, keys: list[str]) -> None:
        """Number a patient in order of arrival from 1, unless one of this name was there."""
        if self._has("patients", keys[0]):
            return
        self.patients += 1
        self._rows.execute("INSERT INTO subjects VALUES (?, ?)", (self.patients, _clean(keys[0])))
        self._insert("INSERT OR IGNORE INTO patients VALUES (?, ?)", keys, self.patients)

    def add_encounter(self, keys: list[str], patient: str, period: Period, *, inpatient: bool) -> None:
        """Stage an encounter of a referred patient, unless one of this name was there; inpatient means an admission."""
        if self._has("encounters", keys[0]):
            return
        hadm = None
        if inpatient:
            self.admissions += 1
            hadm = self.admissions
            self._rows.execute("INSERT INTO admissions VALUES (?, ?)", (hadm, _clean(keys[0])))
        times = (time and time.isoformat() for time in period)
        statement = "INSERT OR IGNORE INTO encounters VALUES (?, ?, ?, ?, ?)"
        self._insert(statement, keys, _clean(patient), hadm, *times)

    def add_name(self, keys: list[str], name: str) -> None:
        """Stage what a medication or a location is called."""
        self._insert("INSERT OR IGNORE INTO named VALUES (?, ?)", keys, _clean(name))

    def patient(self, reference: str) -> int | None:
        """Find the subject_id that a reference means."""
        return self._find_patient(reference)

    def encounter(self, reference: str) -> Encounter | None:
        """Find the encounter that a reference means."""
        return self._find_encounter(reference)

    def name(self, reference: str, kind: str) -> str:
        """Find what a referred medication or location is called; "" when it is not there."""
        for key in target_keys(reference, kind):
            found = self._rows.execute("SELECT name FROM named WHERE key = ?", (_clean(key),)).fetchone()
            if found:
                return str(found[0])
        return ""

    def repeats(self, key: str, content: bytes) -> str:
        """Remember a resource; say whether this name was there before, with the same content or another."""
        digest = hashlib.blake2b(content, digest_size=16).digest()
        name = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        added = self._rows.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (name, digest))
        if added.rowcount == 1:
            return ""
        (earlier,) = self._rows.execute("SELECT digest FROM seen WHERE key = ?", (name,)).fetchone()
        return "duplicate resource" if earlier == digest else "identifier of an earlier, different resource"

    def numbers(self, table: str) -> Iterator[tuple[int, str]]:
        """Walk through (number, name) of the "subjects" or the "admissions"."""
        query = {"subjects": "SELECT * FROM subjects ORDER BY 1", "admissions": "SELECT * FROM admissions ORDER BY 1"}
        with closing(self._rows.execute(query[table])) as found:
            yield from found

    def _look_up_patient(self, reference: str) -> int | None:
        for key in target_keys(reference, "Patient"):
            found = self._rows.execute("SELECT subject_id FROM patients WHERE key = ?", (_clean(key),)).fetchone()
            if found:
                return int(found[0])
        return None

    def _look_up_encounter(self, reference: str) -> Encounter | None:
        query = "SELECT patient, hadm_id, began, ended FROM encounters WHERE key = ?"
        for key in target_keys(reference, "Encounter"):
            found = self._rows.execute(query, (_clean(key),)).fetchone()
            subject = self.patient(found[0]) if found else None
            if subject is not None:
                began, ended = (time and datetime.fromisoformat(time) for time in found[2:])
                return Encounter(subject, found[1], began, ended)
        return None

    def _has(self, table: str, key: str) -> bool:
        query = {
            "patients": "SELECT 1 FROM patients WHERE key = ?",
            "encounters": "SELECT 1 FROM encounters WHERE key = ?",
        }[table]
        return self._rows.execute(query, (_clean(key),)).fetchone() is not None

    def _insert(self, statement: str, keys: list[str], *values: object) -> None:
        self._rows.executemany(statement, [(_clean(key), *values) for key in keys])


def _clean(text: str) -> str:
    """Make text storable: a lone surrogate, which JSON can spell, is no Unicode."""
    return text.encode("utf-8", "replace").decode("utf-8")
