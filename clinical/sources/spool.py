"""What an ingest must remember about a corpus, kept on disk so that memory does not grow with it.

Notes and codes arrive in separate files and in any order. To join them, to notice what appears twice and to name what
never found its partner, an ingest remembers identifiers and codes, though never a note's text. They live in a SQLite
file beside the hospital being written (not in a shared temporary folder: identifiers are patient data) which is gone
when the ingest ends.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clinical.sources.scratch import Scratch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Place", "Spool"]

_TABLES = """
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = FILE;
CREATE TABLE codes (document TEXT, code TEXT, known INTEGER, PRIMARY KEY (document, code)) WITHOUT ROWID;
CREATE TABLE notes (document TEXT PRIMARY KEY, digest BLOB, subject_id INTEGER, hadm_id INTEGER) WITHOUT ROWID;
CREATE TABLE patients (patient TEXT PRIMARY KEY, subject_id INTEGER, stays INTEGER) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a note goes: its numbers in the hospital, and how many admissions its patient already had."""

    subject_id: int
    hadm_id: int
    earlier_stays: int


class Spool(Scratch):
    """Identifiers and codes of one corpus, on disk; a context manager.

    Args:
        folder: existing folder in which the temporary file is made.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, _TABLES)
        self._patients = 0
        self._stays = 0

    @property
    def patients(self) -> int:
        """Number of patients placed so far."""
        return self._patients

    def add_code(self, document: str, code: str, *, known: bool) -> bool:
        """Remember a document's code; False when it already has it."""
        added = self._rows.execute("INSERT OR IGNORE INTO codes VALUES (?, ?, ?)", (document, code, known))
        return added.rowcount == 1

    def codes(self, document: str) -> list[str]:
        """Give a document's codes in code order."""
        found = self._rows.execute("SELECT code FROM codes WHERE document = ? ORDER BY code", (document,))
        return [code for (code,) in found]

    def digest(self, document: str) -> bytes | None:
        """Give the fingerprint of the note already placed under this identifier, if there is one."""
        found = self._rows.execute("SELECT digest FROM notes WHERE document = ?", (document,)).fetchone()
        return None if found is None else bytes(found[0])

    def place(self, document: str, patient: str, *, digest: bytes) -> Place:
        """Number a new note, its patient and its admission, in the order of arrival from 1."""
        found = self._rows.execute("SELECT subject_id, stays FROM patients WHERE patient = ?", (patient,)).fetchone()
        if found is None:
            self._patients += 1
            found = (self._patients, 0)
        self._stays += 1
        place = Place(found[0], self._stays, found[1])
        self._rows.execute("REPLACE INTO patients VALUES (?, ?, ?)", (patient, place.subject_id, found[1] + 1))
        self._rows.execute("INSERT INTO notes VALUES (?, ?, ?, ?)", (document, digest, *_numbers(place)))
        return place

    def placed(self) -> Iterator[tuple[int, int, str]]:
        """Walk through (subject_id, hadm_id, document) of every placed note, in order of admission number."""
        with closing(self._rows.execute("SELECT subject_id, hadm_id, document FROM notes ORDER BY hadm_id")) as found:
            yield from found

    def notes_without_codes(self) -> list[str]:
        """Name the placed notes that no code belongs to."""
        return self._names("SELECT document FROM notes WHERE document NOT IN (SELECT document FROM codes) ORDER BY 1")

    def codes_without_note(self) -> list[str]:
        """Name the documents that have codes and no placed note."""
        return self._names("SELECT DISTINCT document FROM codes WHERE document NOT IN (SELECT document FROM notes)")

    def orphan_codes(self) -> int:
        """Count the codes of documents without a placed note."""
        found = self._rows.execute("SELECT COUNT(*) FROM codes WHERE document NOT IN (SELECT document FROM notes)")
        return int(found.fetchone()[0])

    def code_counts(self, *, known: bool) -> dict[str, int]:
        """Count the documents of each code that was (or was not) found in its code system."""
        found = self._rows.execute(
            "SELECT code, COUNT(*) FROM codes WHERE known = ? AND document IN (SELECT document FROM notes) GROUP BY 1",
            (known,),
        )
        return dict(found)

    def _names(self, query: str) -> list[str]:
        """Run a query of one text column."""
        return [name for (name,) in self._rows.execute(query)]


def _numbers(place: Place) -> tuple[int, int]:
    """Give a place as it is stored."""
    return place.subject_id, place.hadm_id
