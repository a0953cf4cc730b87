"""An OMOP CDM 5.4 database, exported as CSV or live, into one hospital.

Both ways give blocks of rows as text, and everything after that is the same, so a hospital is the same whichever way
it came. Concepts, persons and visits are read first, because every other row points at them; then each table streams
through once.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
import pyarrow as pa

from clinical.events import HospitalWriter
from clinical.partition import split_hospital
from clinical.profile import ProfileError
from clinical.sources.exports import Export, find_exports, open_export
from clinical.sources.omop_book import ConceptBook, SeenKeys, Visits
from clinical.sources.omop_events import TRANSLATORS, OmopHospital, person_events, visit_events
from clinical.sources.omop_rows import OmopRows
from clinical.sources.omop_tables import CONCEPT, FACTS, PERSON, TABLES, VISIT, OmopTable
from clinical.sources.receipt import RowTally, TablesReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from clinical.sources.exports import Block

__all__ = ["OmopSource", "ingest_omop", "is_url"]

_HELD_BYTES: Final = 64 << 20
_NAMES: Final = tuple(table.name for table in TABLES)


class OmopSource(Protocol):
    """Where the tables are: a folder of files or a database."""

    places: Mapping[str, str]
    others: tuple[str, ...]

    def blocks(self, table: OmopTable) -> Iterator[Block]:
        """Read a table's columns as text, in blocks; a ValueError when it lacks one that it requires."""
        ...


def ingest_omop(
    src: str | Path,
    out: Path,
    *,
    schema: str = "",
    vocabulary_schema: str = "",
    encoding: str = "utf-8",
    site_id: str = "",
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    limit_bytes: int = _HELD_BYTES,
) -> TablesReport:
    """Read an OMOP CDM and write it as one hospital, with splits and a receipt.

    Args:
        src: a folder of exported tables (.csv, also .gz; any capitals; comma, tab, semicolon or bar), or the URL of a
            database as SQLAlchemy writes it, such as postgresql+psycopg://user@host/database.
        out: the hospital's folder; absent or empty.
        schema: of the tables in a database; "" is its default.
        vocabulary_schema: where the concept table is, if elsewhere.
        encoding: of the files.
        site_id: the hospital's name; the folder's name when empty.
        seed: decides the splits and nothing else.
        progress: called with the number of rows read since the last call.
        limit_bytes: bytes of events held in memory at once.

    Returns:
        The receipt, as written to `metadata/ingest.json`.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the database cannot be read, a table is damaged or lacks a required column, there is no person,
            or `out` holds something already. Nothing is left at `out` then. No message repeats a password.

    Guarantee: every row of every table that is taken is either in the hospital or counted under a reason, with its
    number; the same rows give the same events from files and from a database.
    """
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        tables: OmopSource
        if is_url(str(src)):
            from clinical.sources.database import open_database

            schemas = {table.name: vocabulary_schema if table is CONCEPT else "" for table in TABLES}
            tables = stack.enter_context(open_database(str(src), TABLES, schema=schema, elsewhere=schemas))
        else:
            tables = _Files(Path(src), encoding)
        book = stack.enter_context(ConceptBook(out.parent))
        ingest = _Ingest(tables, OmopHospital(book), progress or (lambda _: None))
        writer = HospitalWriter(
            out, site_id=site_id or out.name, source="OMOP CDM", code_titles=ingest.titles, limit_bytes=limit_bytes
        )
        with writer:
            for events in ingest.event_tables():
                writer.append(events)
        report = ingest.report(writer.manifest.patients)
    split_hospital(out, seed=seed)
    report.write(out)
    return report


def is_url(src: str) -> bool:
    """Say whether a source is the URL of a database.

    >>> is_url("sqlite:///cdm.db"), is_url("exports/omop")
    (True, False)
    """
    scheme, separator, _ = src.partition("://")
    return bool(separator) and scheme.replace("+", "").replace("_", "").isalnum()


class _Files:
    """The tables of a folder."""

    def __init__(self, folder: Path, encoding: str) -> None:
        found = find_exports(folder, _NAMES)
        self._exports: dict[str, Export] = {
            name: open_export(path, encoding=encoding) for name, path in found.tables.items()
        }
        self.places: Mapping[str, str] = {name: str(export.path) for name, export in self._exports.items()}
        self.others: tuple[str, ...] = found.others

    def blocks(self, table: OmopTable) -> Iterator[Block]:
        """Read a table; the vocabulary's own files have tabs and no quoting."""
        export = self._exports[table.name]
        export.require(table.requires)
        quoted = not (table is CONCEPT and export.delimiter == "\t")
        return export.blocks(table.reads, quoted=quoted)


class _Ingest:
    """One run over a database: counts every row, builds events."""

    def __init__(self, tables: OmopSource, hospital: OmopHospital, progress: Callable[[int], None]) -> None:
        self.titles = hospital.titles
        self._tables = tables
        self._hospital = hospital
        self._progress = progress
        self._tallies: defaultdict[str, RowTally] = defaultdict(RowTally)
        if PERSON.name not in tables.places:
            raise ProfileError("there is no table person; every event of an OMOP database belongs to a person")

    def event_tables(self) -> Iterator[pa.Table]:
        """Read every table that is there, those that others point at first."""
        self._read_concepts()
        yield from self._read_persons()
        if VISIT.name in self._tables.places:
            yield from self._read_visits()
        for table in FACTS:
            if table.name in self._tables.places:
                yield from self._read_facts(table)

    def report(self, patients: int) -> TablesReport:
        """Close the books."""
        tallies = sorted(self._tallies.items())
        return TablesReport(
            source="OMOP CDM",
            inputs=dict(sorted(self._tables.places.items())),
            times="as the database gives them; a fact with a day only stands at its last second",
            patients=patients,
            events={name: tally.events for name, tally in tallies if tally.events},
            tables={name: tally.count() for name, tally in tallies},
            refused_rows={
                name: {why: tuple(rows) for why, rows in tally.rows.items()} for name, tally in tallies if tally.rows
            },
            missing=tuple(name for name in _NAMES if name not in self._tables.places),
            unused=self._tables.others,
            unknown_codes=self._hospital.unknown_codes,
        )

    def _blocks(self, table: OmopTable) -> Iterator[OmopRows]:
        """Read a table that is there, counting."""
        tally = self._tallies[table.name]
        for block in self._tables.blocks(table):
            yield OmopRows(block, tally)
            self._progress(block.read)

    def _read_concepts(self) -> None:
        """Stage the concept table."""
        if CONCEPT.name not in self._tables.places:
            return
        seen = SeenKeys()
        for rows in self._blocks(CONCEPT):
            numbers = rows.required("concept_id")
            rows.refuse_repeats(numbers, rows.left, seen)
            kept = np.flatnonzero(rows.left)
            names = ("concept_name", "vocabulary_id", "concept_code")
            name, vocabulary, code = (
                [word or "" for word in rows.words(column).take(pa.array(kept)).to_pylist()] for column in names
            )
            capitals = [word.upper() for word in vocabulary]
            self._hospital.book.add(zip(numbers[kept].tolist(), name, capitals, code, strict=True))

    def _read_persons(self) -> Iterator[pa.Table]:
        """Read the persons."""
        seen, persons = SeenKeys(), []
        births = self._tallies[f"{PERSON.name} (birth)"]
        for rows in self._blocks(PERSON):
            yield from self._counted(PERSON, person_events(rows, self._hospital, seen, births))
            persons.append(rows.required("person_id")[rows.left])
        if not sum(map(len, persons)):
            raise ProfileError("the table person has no row that can be taken; nothing else belongs to anybody")
        self._tallies[PERSON.name].events -= births.events  # counted where they are
        self._hospital.persons = np.sort(np.concatenate(persons))

    def _read_visits(self) -> Iterator[pa.Table]:
        """Read the visits."""
        seen, visits = SeenKeys(), []
        for rows in self._blocks(VISIT):
            events, kept = visit_events(rows, self._hospital, seen)
            visits.append(kept)
            yield from self._counted(VISIT, events)
        self._hospital.visits = Visits.of(visits)

    def _read_facts(self, table: OmopTable) -> Iterator[pa.Table]:
        """Read one of the other tables."""
        seen = SeenKeys()
        for rows in self._blocks(table):
            keys, given = rows.integers(table.key)
            rows.refuse_repeats(keys, given, seen)
            yield from self._counted(table, TRANSLATORS[table.name](rows, self._hospital))

    def _counted(self, table: OmopTable, events: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Count events on their way."""
        for some in events:
            self._tallies[table.name].events += len(some)
            if len(some):
                yield some
