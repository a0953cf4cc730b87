"""One ingest of exported tables: find them, read what they share, translate each, close the books.

The three data sets that come as tables (MIMIC-IV, MIMIC-III, eICU-CRD) differ in what their columns mean and in nothing
else; that is a list of `TableMap`s. The order of work, the counting and the promise that every row is accounted for
stand here once.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from clinical.events import HospitalWriter
from clinical.partition import split_hospital
from clinical.sources.cells import DATE_ORDERS, DateOrder, parse_integers
from clinical.sources.exports import find_exports, open_export
from clinical.sources.fingerprints import repeated_events, repeated_rows
from clinical.sources.receipt import RowTally, TablesReport
from clinical.sources.translation import DUPLICATE_ROW, Rows, translate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from clinical.sources.exports import Export
    from clinical.sources.table_maps import Context, TableMap

__all__ = ["ExportSource", "Reading", "TableOptions", "ingest_exports"]

_HELD_BYTES: Final = 64 << 20
_TITLES: Final = {
    "ADMISSION": "Admission to hospital",
    "DISCHARGE": "Discharge from hospital",
    "ICU//IN": "Admission to intensive care",
    "ICU//OUT": "Discharge from intensive care",
    "NOTE//DISCHARGE": "Discharge note",
    "DEATH": "Death",
    "MEDS_BIRTH": "Birth",
}


@dataclass(frozen=True, slots=True)
class TableOptions:
    """What the user may say about an export.

    Attributes:
        site_id: the hospital's name; the folder's when empty.
        seed: decides the splits and nothing else.
        encoding: of every file.
        dates: how 3/4/2150 is meant in files that went through a spreadsheet; "" refuses what could be either.

    Raises:
        ValueError: `dates` is no order.
    """

    site_id: str = ""
    seed: int = 0
    encoding: str = "utf-8"
    dates: DateOrder = ""

    def __post_init__(self) -> None:
        if self.dates not in DATE_ORDERS:
            raise ValueError(f"dates={self.dates!r} is unknown; write {' or '.join(filter(None, DATE_ORDERS))}")


@dataclass(frozen=True, slots=True)
class ExportSource:
    """A data set that comes as exported tables.

    Attributes:
        name: the source, in words, for manifest and receipt.
        times: where its event times come from, in words.
        tables: what is taken, in order of reading.
        dictionaries: tables that name items: (table, column of the number, function from a row to its label).
        essential: tables without which nothing can be done.
        prepare: reads what tables need to know of each other.
    """

    name: str
    times: str
    tables: tuple[TableMap, ...]
    dictionaries: tuple[Dictionary, ...]
    essential: tuple[str, ...]
    prepare: Callable[[Reading], Context]

    def names(self) -> tuple[str, ...]:
        """Every table it knows."""
        return (*(one.table for one in self.dictionaries), *(one.name for one in self.tables))


@dataclass(frozen=True, slots=True)
class Dictionary:
    """A table that names items by number.

    Attributes:
        table: its name.
        columns: the number, then what `label` is given.
        label: makes the label of an item from the other cells, "" for empty ones; "" when there is none.
    """

    table: str
    columns: tuple[str, ...]
    label: Callable[..., str]


class Reading:
    """The tables of one export while they are read, and the count of every row."""

    def __init__(self, source: ExportSource, src: Path, options: TableOptions, progress: Callable[[int], None]) -> None:
        self.source = source
        self.options = options
        self.tallies: dict[str, RowTally] = {}
        self._progress = progress
        self.folder = find_exports(src, source.names())
        if missing := [name for name in source.essential if name not in self.folder.tables]:
            raise ValueError(f"{src} has no table {', '.join(missing)}; {source.name} cannot be read without")
        self._exports = {
            name: open_export(path, encoding=options.encoding) for name, path in self.folder.tables.items()
        }
        for table in source.tables:
            if table.name in self._exports:
                self._exports[table.name].require(table.requires)
        for dictionary in source.dictionaries:
            if dictionary.table in self._exports:
                self._exports[dictionary.table].require(dictionary.columns[:2])

    def has(self, name: str) -> bool:
        """Say whether a table is there."""
        return name in self._exports

    def export(self, name: str) -> Export:
        """Give a table that is there."""
        return self._exports[name]

    def look_up(self, table: TableMap) -> Iterator[Rows]:
        """Read a table for what others need of it; its rows are counted when they are translated."""
        if table.name in self._exports:
            for block in self._exports[table.name].blocks(table.columns()):
                yield Rows(block, table, order=self.options.dates)

    def blocks(self, table: TableMap) -> Iterator[tuple[Rows, RowTally]]:
        """Read a table for its events, counting every row."""
        tally = self.tallies.setdefault(table.name, RowTally())
        for block in self._exports[table.name].blocks(table.columns()):
            tally.read += block.read
            for reason, numbers in block.refused.items():
                tally.refuse(reason, numbers)
            yield Rows(block, table, order=self.options.dates), tally
            self._progress(block.consumed)

    def labels(self) -> dict[str, dict[str, str]]:
        """Read the dictionaries: labels by item number, as text, by table."""
        return {one.table: self._labels(one) for one in self.source.dictionaries if one.table in self._exports}

    def _labels(self, dictionary: Dictionary) -> dict[str, str]:
        """Read one dictionary; of a number given twice the first label stays."""
        tally = self.tallies.setdefault(dictionary.table, RowTally())
        labels: dict[str, str] = {}
        for block in self._exports[dictionary.table].blocks(dictionary.columns):
            tally.read += block.read
            for reason, numbers in block.refused.items():
                tally.refuse(reason, numbers)
            items = parse_integers(block.cells.column(0).combine_chunks()).values.to_pylist()
            others = (column.to_pylist() for column in block.cells.columns[1:])
            for number, item, *cells in zip(block.rows.tolist(), items, *others, strict=True):
                label = dictionary.label(*(cell or "" for cell in cells))
                if item is None:
                    tally.refuse(f"no {dictionary.columns[0]}", [number])
                elif not label.strip():
                    tally.refuse(f"no {dictionary.columns[1]}", [number])
                elif labels.setdefault(str(item), label) != label:
                    tally.refuse("number of an earlier, different item", [number])
            self._progress(block.consumed)
        return labels

    def size(self) -> int:
        """Bytes of all files that are read."""
        return sum(path.stat().st_size for path in self.folder.tables.values())


def ingest_exports(
    source: ExportSource,
    src: Path,
    out: Path,
    *,
    options: TableOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
    limit_bytes: int = _HELD_BYTES,
) -> TablesReport:
    """Read the exported tables of one data set and write them as one hospital, with splits and a receipt.

    Args:
        source: which data set, and what its tables mean.
        src: the folder of the tables.
        out: the hospital's folder; absent or empty.
        options: the hospital's name, seed, encoding, meaning of ambiguous dates.
        progress: called with bytes read since the last call, and bytes in all.
        limit_bytes: bytes of events held in memory at once.

    Returns:
        The receipt, as written to `metadata/ingest.json`.

    Raises:
        FileNotFoundError: there is no folder `src`.
        ValueError: an essential table or column is missing, a file stops being a table, nothing could be taken, or
            `out` holds something already. Nothing is left at `out` then.

    Guarantee: memory follows `limit_bytes`, the number of admissions and the largest patient, not the number of rows.
    Every row of every table is in the hospital or counted under a reason in the receipt.
    """
    options = options or TableOptions()
    out = Path(out).absolute()
    told = progress or (lambda _done, _total: None)
    total = 0
    reading = Reading(source, Path(src), options, lambda done: told(done, total))
    total = reading.size()
    context = source.prepare(reading)
    context.titles.update(_TITLES)
    out.parent.mkdir(parents=True, exist_ok=True)
    writer = HospitalWriter(
        out, site_id=options.site_id or out.name, source=source.name, code_titles=context.titles,
        limit_bytes=limit_bytes, keyed=True,
    )  # fmt: skip
    with writer:
        for number, table in enumerate(source.tables):
            if reading.has(table.name):
                _take(table, number, reading, context, writer)
        _check_taken(source, reading)
    report = _report(source, reading, context, writer)
    split_hospital(out, seed=options.seed)
    report.write(out)
    return report


def _take(table: TableMap, number: int, reading: Reading, context: Context, writer: HospitalWriter) -> None:
    """Translate one table."""
    for rows, tally in reading.blocks(table):
        for events, keys, count in translate(rows, context, table_number=number):
            writer.append(events, keys=keys)
            tally.events += count
        rows.close(tally, context)


def _check_taken(source: ExportSource, reading: Reading) -> None:
    """Raise a ValueError when no table gave an event, before the hospital is published."""
    if not any(reading.tallies[table.name].events for table in source.tables if table.name in reading.tallies):
        refused: Counter[str] = Counter()
        for tally in reading.tallies.values():
            refused.update(tally.refused)
        why = "; ".join(f"{number:,} {reason}" for reason, number in refused.most_common(3))
        raise ValueError(f"no row of any table could be taken as {source.name} ({why or 'the tables have no rows'})")


def _report(source: ExportSource, reading: Reading, context: Context, writer: HospitalWriter) -> TablesReport:
    """Close the books: repeated rows are known only now."""
    for number, table in enumerate(source.tables):
        if table.name in reading.tallies:
            tally = reading.tallies[table.name]
            tally.events -= repeated_events(writer.repeats, number)
            tally.refused[DUPLICATE_ROW] += repeated_rows(writer.repeats, number)
    return TablesReport(
        source=source.name,
        inputs={name: str(path) for name, path in reading.folder.tables.items()},
        times=source.times,
        patients=writer.manifest.patients,
        events={name: tally.events for name, tally in reading.tallies.items()},
        tables={name: tally.count() for name, tally in reading.tallies.items()},
        refused_rows={
            name: {reason: tuple(rows) for reason, rows in sorted(tally.rows.items())}
            for name, tally in reading.tallies.items()
            if tally.rows
        },
        missing=tuple(name for name in source.names() if name not in reading.folder.tables),
        unused=reading.folder.others,
        unknown_codes=context.unknown.total(),
        repaired={name: dict(sorted(counts.items())) for name, counts in sorted(context.repaired.items())},
    )
