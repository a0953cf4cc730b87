"""What an ingest took, what it refused and why: `metadata/ingest.json`.

Nothing is dropped silently. For every kind of row, rows in = rows out + rows refused, by reason; a receipt that does
not add up cannot be made. Documents are named by identifier so that somebody at the hospital can look them up; text is
never repeated. Notes have an `IngestReport`, tables of events a `TablesReport`.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["RECEIPT_PATH", "TIMES_ASSUMED", "IngestReport", "RowCount", "RowTally", "TablesReport", "Tally"]

RECEIPT_PATH: Final = "metadata/ingest.json"
TIMES_ASSUMED: Final = "times assumed"
"""Stands in a manifest's source when event times are ours and not the hospital's; it follows the data around."""


@dataclass(frozen=True, slots=True)
class RowCount:
    """One kind of row: how many were read, kept and refused, the refused by reason.

    Raises:
        ValueError: they do not add up.
    """

    read: int
    kept: int
    refused: Mapping[str, int]

    def __post_init__(self) -> None:
        if self.read != self.kept + sum(self.refused.values()):
            raise ValueError(
                f"{self.read} rows read, but {self.kept} kept and {sum(self.refused.values())} refused; "
                "every row is one or the other"
            )


@dataclass(slots=True)
class Tally:
    """A running count of one kind of row, with the identifiers of what was refused."""

    read: int = 0
    refused: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def refuse(self, reason: str, document: str) -> None:
        """Count one refused row."""
        self.refused[reason].append(document)

    @property
    def kept(self) -> int:
        """Rows read and not refused."""
        return self.read - sum(len(documents) for documents in self.refused.values())

    def count(self) -> RowCount:
        """Close the count."""
        return RowCount(self.read, self.kept, {reason: len(ids) for reason, ids in sorted(self.refused.items())})

    def documents(self) -> dict[str, tuple[str, ...]]:
        """Name the refused, without repetition, by reason."""
        return {reason: tuple(Counter(ids)) for reason, ids in sorted(self.refused.items())}


@dataclass(frozen=True, slots=True)
class IngestReport:
    """The receipt of one ingest.

    Attributes:
        source: which source, in words.
        inputs: what was read, by role.
        encoding: how text was decoded.
        times: where the event times come from, in words; says so when they are assumed.
        patients: number of patients written.
        notes: notes read, kept, refused.
        codes: code entries read, kept, refused; a cell with three codes is three entries.
        notes_without_codes: documents that are kept although no code belongs to them.
        codes_without_note: documents whose codes are refused because no note was kept.
        refused_notes: document identifiers by reason.
        refused_codes: document identifiers by reason.
        unknown_codes: codes kept although their code system does not list them: documents per code.
        known_codes: number of distinct codes that are listed.
    """

    source: str
    inputs: Mapping[str, tuple[str, ...]]
    encoding: str
    times: str
    patients: int
    notes: RowCount
    codes: RowCount
    notes_without_codes: tuple[str, ...]
    codes_without_note: tuple[str, ...]
    refused_notes: Mapping[str, tuple[str, ...]]
    refused_codes: Mapping[str, tuple[str, ...]]
    unknown_codes: Mapping[str, int]
    known_codes: int

    def write(self, hospital: Path) -> Path:
        """Write the receipt into a finished hospital and return its path."""
        path = hospital / RECEIPT_PATH
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return path


SHOWN_ROWS: Final = 20  # row numbers kept by reason; a table may refuse millions


@dataclass(slots=True)
class RowTally:
    """A running count of one table's rows, by whole blocks, with the first refused rows of each reason."""

    read: int = 0
    events: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    rows: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def refuse(self, reason: str, rows: Sequence[int] | NDArray[Any]) -> None:
        """Count refused rows, each under one reason; ``rows`` are numbers from 1 without the header."""
        self.refused[reason] += len(rows)
        shown = self.rows[reason]
        shown.extend(int(row) for row in rows[: SHOWN_ROWS - len(shown)])

    def count(self) -> RowCount:
        """Close the count; a row that gives two events is one row kept."""
        refused = {reason: number for reason, number in sorted(self.refused.items()) if number}
        return RowCount(self.read, self.read - sum(refused.values()), refused)


@dataclass(frozen=True, slots=True)
class TablesReport:
    """The receipt of an ingest of tables.

    Attributes:
        source: which source and release, in words.
        inputs: the file, directory or database table read, by table.
        times: where the event times come from, in words; says so when they are assumed.
        patients: number of patients written.
        events: events written, by table.
        tables: rows read, kept, refused, by table.
        refused_rows: the first refused row numbers (from 1, without the header), by table and reason.
        missing: optional tables that were not there.
        unused: tables that were there and hold nothing this profile takes.
        unknown_codes: events whose diagnosis or procedure code is in no release; kept.
        repaired: rows kept although something in them had to be put right, by table and what that was.
    """

    source: str
    inputs: Mapping[str, str]
    times: str
    patients: int
    events: Mapping[str, int]
    tables: Mapping[str, RowCount]
    refused_rows: Mapping[str, Mapping[str, tuple[int, ...]]]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    unknown_codes: int
    repaired: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def write(self, hospital: Path) -> Path:
        """Write the receipt into a finished hospital and return its path."""
        path = hospital / RECEIPT_PATH
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return path
