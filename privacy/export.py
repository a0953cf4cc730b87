"""A ledger as text for an auditor: every row and the head of the chain, checked without the database.

JSON lines: the first names the format, the number of rows and the head; each of the others is one row with every
field its hash covers. The hash of a row is the SHA-256 of the JSON array [sequence, at, kind, run_id, [sampling_rate,
noise_multiplier, steps], details, previous] without spaces and with sorted keys, so the file can be checked without
this software as well.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from privacy.accounting import PoissonGaussian
from privacy.budget import GENESIS, LedgerCorrupt, LedgerEntry, canonical, check_chain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

FORMAT = "wardround-ledger-1"


def to_lines(entries: Sequence[LedgerEntry]) -> Iterator[str]:
    """Yields the export's lines, without line ends."""
    yield canonical({"format": FORMAT, "rows": len(entries), "head": entries[-1].hash if entries else GENESIS})
    for entry in entries:
        row = asdict(entry)
        yield canonical(row | row.pop("event"))


def from_lines(lines: Iterable[str]) -> list[LedgerEntry]:
    """Reads an export and checks its chain.

    Args:
        lines: as `to_lines` yields them; empty lines are skipped.

    Returns:
        The rows in order.

    Raises:
        LedgerCorrupt: the text is no export, or a row or the head does not fit; the message names the first one.
    """
    header, *rows = [_object(number, line) for number, line in enumerate(lines, start=1) if line.strip()] or [{}]
    if header.get("format") != FORMAT:
        raise LedgerCorrupt(f"this is no ledger export: its first line does not say {FORMAT!r}")
    entries = [_entry(number, row) for number, row in enumerate(rows, start=1)]
    head = check_chain(entries)
    if (header.get("rows"), header.get("head")) != (len(entries), head):
        raise LedgerCorrupt(f"the export announces {header.get('rows')} rows and holds {len(entries)}, or another head")
    return entries


def _object(number: int, line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise LedgerCorrupt(f"line {number} of the export is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise LedgerCorrupt(f"line {number} of the export is not a JSON object")
    return value


def _entry(number: int, row: dict[str, Any]) -> LedgerEntry:
    try:
        event = PoissonGaussian(row.pop("sampling_rate"), row.pop("noise_multiplier"), row.pop("steps"))
        return LedgerEntry(event=event, **row)
    except (KeyError, TypeError, ValueError) as error:
        raise LedgerCorrupt(f"row {number} of the export is no ledger row: {error}") from None
