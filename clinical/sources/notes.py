"""Coded notes into one hospital: a folder of texts or a table, and the codes that belong to them.

A corpus of notes has no admissions, so we make the smallest one that says what is known: each document is one
admission that ends when the note is known, and its codes carry that same time, as the leakage rule asks. Where the
corpus has no times they are assumed, the same for everybody, and the receipt says so.

The corpus is read once, document by document; what must be remembered across it is kept on disk (`spool`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from clinical.events import HospitalWriter
from clinical.partition import split_hospital
from clinical.profile import DISCHARGE_NOTE, EVENT_SCHEMA
from clinical.sources.code_tables import CodeEntry, CodeSystems, read_codes, split_cell
from clinical.sources.corpus import Note, NoteOptions, find_files, have_times, is_text, read_notes
from clinical.sources.receipt import TIMES_ASSUMED, IngestReport, RowCount, Tally
from clinical.sources.spool import Place, Spool
from clinical.sources.tables import check_encoding, spoken_encoding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

__all__ = ["ASSUMED_ADMISSION", "NoteOptions", "ingest_notes"]

ASSUMED_ADMISSION: Final = datetime(2000, 1, 1)  # noqa: DTZ001 - event times are naive by the profile
"""Admission time of a patient's first document without a time; later ones follow every other day."""

_STAY: Final = timedelta(days=1)
_BATCH_CHARACTERS: Final = 1 << 21
_BATCH_DOCUMENTS: Final = 256
_HELD_BYTES: Final = 64 << 20
_DOCUMENTS_AT_ONCE: Final = 4096
_EVENT_TITLES: Final = {
    "ADMISSION": "Admission to hospital",
    "DISCHARGE": "Discharge from hospital",
    DISCHARGE_NOTE: "Discharge note",
}
_ROLES: Final = ("diagnoses", "procedures", "codes")
_DOCUMENTS_SCHEMA: Final = pa.schema([("subject_id", pa.int64()), ("hadm_id", pa.int64()), ("document", pa.string())])


def ingest_notes(
    src: str | Path | Sequence[str | Path],
    out: Path,
    *,
    options: NoteOptions | None = None,
    site_id: str = "",
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    limit_bytes: int = _HELD_BYTES,
) -> IngestReport:
    """Read coded notes and write them as one hospital, with splits and a receipt.

    Args:
        src: folders of .txt files, single .txt files, note tables (.csv, .tsv, .parquet, .gz) or glob patterns of them.
        out: the hospital's folder; absent or empty.
        options: where codes are, what columns are called, code systems, encoding.
        site_id: the hospital's name; the folder's name when empty.
        seed: decides the splits and nothing else.
        progress: called with the number of documents read since the last call.
        limit_bytes: bytes of events held in memory at once.

    Returns:
        The receipt, as written to `metadata/ingest.json`.

    Raises:
        FileNotFoundError: a path or pattern matches nothing, or a folder holds no texts.
        ValueError: no codes were named, a column is missing, no document could be read, no code fits any note, or
            `out` holds something already. Nothing is left at `out` then.

    Guarantee: memory follows `limit_bytes` and the largest document, not their number. Every document and every code
    entry is either in the hospital or counted under a reason in the receipt.
    """
    options = options or NoteOptions()
    encoding = check_encoding(options.encoding)
    systems = CodeSystems(options.diagnosis_system, options.procedure_system)
    out = Path(out).absolute()
    sources = find_files([src] if isinstance(src, str | Path) else src, role="notes")
    tables = {role: find_files(getattr(options, role), role=role) for role in _ROLES}
    _require_codes(sources, tables)
    source = "notes" if have_times(sources, options, encoding=encoding) else f"notes ({TIMES_ASSUMED})"
    out.parent.mkdir(parents=True, exist_ok=True)
    with Spool(out.parent) as spool:
        ingest = _Ingest(spool, systems)
        with HospitalWriter(
            out, site_id=site_id or out.name, source=source, code_titles=ingest.titles, limit_bytes=limit_bytes
        ) as writer:
            for role, paths in tables.items():
                for path in paths:
                    ingest.take_codes(read_codes(path, options, encoding=encoding), role=role)
            notes = read_notes(sources, options, encoding=encoding)
            for events in ingest.event_tables(notes, progress=progress or (lambda _: None)):
                writer.append(events)
            ingest.check_joined()
        _write_documents(out, spool)
        report = ingest.report({"notes": sources, **tables}, encoding=encoding)
    split_hospital(out, seed=seed)
    report.write(out)
    return report


def _require_codes(sources: Sequence[Path], tables: Mapping[str, Sequence[Path]]) -> None:
    """Refuse texts without a code table: a note table may carry its own codes, a text file cannot."""
    if not any(tables.values()) and all(source.is_dir() or is_text(source) for source in sources):
        raise ValueError("no codes: name a code table of (document, code) with --diagnoses, --procedures or --codes")


class _Ingest:
    """One run over a corpus: counts every row, joins codes to notes, builds events."""

    def __init__(self, spool: Spool, systems: CodeSystems) -> None:
        self.titles = dict(_EVENT_TITLES)  # grows as codes are met; the writer reads it when it finishes
        self._spool = spool
        self._systems = systems
        self._notes = Tally()
        self._codes = Tally()
        self._timed = 0

    def take_codes(self, entries: Iterable[CodeEntry], *, role: str) -> None:
        """Count and remember code entries."""
        for entry in entries:
            self._codes.read += 1
            refusal = entry.refusal or self._remember(entry, role)
            if refusal:
                self._codes.refuse(refusal, entry.document)

    def event_tables(self, notes: Iterable[Note], *, progress: Callable[[int], None]) -> Iterator[pa.Table]:
        """Turn notes into tables of events, a bounded number of characters each."""
        events, characters, documents = EventRows(), 0, 0
        for note in notes:
            characters += len(note.text)
            documents += 1
            self._take_note(note, events)
            if characters >= _BATCH_CHARACTERS or documents >= _BATCH_DOCUMENTS:
                yield events.table()
                progress(documents)
                events, characters, documents = EventRows(), 0, 0
        yield events.table()
        progress(documents)

    def check_joined(self) -> None:
        """Raise a ValueError when nothing usable was read, before the hospital is published."""
        if not self._notes.kept:
            refused = "; ".join(f"{number} {reason}" for reason, number in self._notes.count().refused.items())
            raise ValueError(f"none of {self._notes.read} documents could be taken ({refused or 'there were none'})")
        if not self._codes.kept:
            raise ValueError(
                "no codes were read: name a code table with --diagnoses, --procedures or --codes, or a column of the "
                "note table with --diagnoses-column, --procedures-column or --codes-column"
            )
        if self._spool.orphan_codes() == self._codes.kept:
            raise ValueError(
                f"none of {self._codes.kept} codes belongs to any of {self._notes.kept} notes: their document "
                "identifiers differ; choose the shared one with --document-column and --code-document-column"
            )

    def report(self, inputs: Mapping[str, Sequence[Path]], *, encoding: str) -> IngestReport:
        """Close the books."""
        orphans = self._spool.codes_without_note()
        codes = self._codes.count()
        if orphans:
            number = self._spool.orphan_codes()
            codes = RowCount(codes.read, codes.kept - number, {**codes.refused, "no note": number})
        return IngestReport(
            source="notes",
            inputs={role: tuple(map(str, paths)) for role, paths in inputs.items() if paths},
            encoding=spoken_encoding(encoding),
            times=self._times(),
            patients=self._spool.patients,
            notes=self._notes.count(),
            codes=codes,
            notes_without_codes=tuple(self._spool.notes_without_codes()),
            codes_without_note=tuple(orphans),
            refused_notes=self._notes.documents(),
            refused_codes=self._codes.documents(),
            unknown_codes=self._spool.code_counts(known=False),
            known_codes=len(self._spool.code_counts(known=True)),
        )

    def _times(self) -> str:
        """Say where event times come from."""
        untimed = self._notes.kept - self._timed
        assumed = f"assumed: stays of one day from {ASSUMED_ADMISSION:%Y-%m-%d}, the same for every patient"
        if not self._timed:
            return f"{assumed}; the corpus has no times"
        given = "discharge as given, admission assumed one day before"
        return f"{given}; {untimed} documents without a time are {assumed}" if untimed else given

    def _remember(self, entry: CodeEntry, role: str) -> str:
        """Resolve and keep one code; the reason when it is refused."""
        if not entry.code:
            return "empty code"
        resolved = self._systems.resolve(entry, role=role)
        if resolved is None:
            return "not a code"
        if not self._spool.add_code(entry.document, resolved.full, known=resolved.known):
            return "duplicate row"
        if resolved.title:
            self.titles[resolved.full] = resolved.title
        return ""

    def _take_note(self, note: Note, events: EventRows) -> None:
        """Count one note and, when it can be taken, its codes and events."""
        self._notes.read += 1
        entries = [(role, CodeEntry(note.document, code)) for role, cell in note.codes for code in split_cell(cell)]
        digest = b"" if note.refusal else _fingerprint(note)
        if refusal := note.refusal or self._repeats(note, digest):
            self._notes.refuse(refusal, note.document)
            self._codes.read += len(entries)
            for _, entry in entries:
                self._codes.refuse("its note was refused", entry.document)
            return
        for role, entry in entries:
            self.take_codes([entry], role=role)
        self._timed += note.time is not None
        place = self._spool.place(note.document, note.patient, digest=digest)
        events.add(note, place, self._spool.codes(note.document))

    def _repeats(self, note: Note, digest: bytes) -> str:
        """Say whether this identifier was seen before, with the same content or another."""
        earlier = self._spool.digest(note.document)
        if earlier is None:
            return ""
        return "duplicate row" if earlier == digest else "identifier of an earlier, different note"


def _fingerprint(note: Note) -> bytes:
    """Tell a repeated row from an identifier used twice, without remembering the text."""
    return hashlib.sha256(f"{note.patient}\0{note.time}\0{note.text}".encode()).digest()


@dataclass(slots=True)
class EventRows:
    """Events being collected, column by column."""

    subject_id: list[int] = field(default_factory=list)
    time: list[datetime] = field(default_factory=list)
    code: list[str] = field(default_factory=list)
    text_value: list[str | None] = field(default_factory=list)
    hadm_id: list[int] = field(default_factory=list)

    def add(self, note: Note, place: Place, codes: Sequence[str]) -> None:
        """Add one document as one admission; note and codes become known at discharge."""
        discharge = note.time or ASSUMED_ADMISSION + _STAY * (2 * place.earlier_stays + 1)
        self._append(place, discharge - _STAY, "ADMISSION")
        for code in codes:
            self._append(place, discharge, code)
        self._append(place, discharge, DISCHARGE_NOTE, note.text)
        self._append(place, discharge, "DISCHARGE")

    def table(self) -> pa.Table:
        """Give the events as a table of the profile."""
        columns = {name: getattr(self, name) for name in self.__slots__}
        schema = pa.schema([EVENT_SCHEMA.field(name) for name in columns])
        return pa.table(columns, schema=schema)

    def _append(self, place: Place, time: datetime, code: str, text: str | None = None) -> None:
        """Add one event."""
        self.subject_id.append(place.subject_id)
        self.time.append(time)
        self.code.append(code)
        self.text_value.append(text)
        self.hadm_id.append(place.hadm_id)


def _write_documents(hospital: Path, spool: Spool) -> None:
    """Write which document became which admission, so that a finding can be traced back at the hospital."""
    with pq.ParquetWriter(hospital / "metadata" / "documents.parquet", _DOCUMENTS_SCHEMA) as writer:
        placed = spool.placed()
        while rows := list(islice(placed, _DOCUMENTS_AT_ONCE)):
            columns = [list(column) for column in zip(*rows, strict=True)]
            writer.write_table(pa.table(columns, schema=_DOCUMENTS_SCHEMA))
