"""Blocks of an export into events, by a table of what each column means.

A source says for each of its tables which facts a row states: how the code is spelled, which column says when it was
known, which holds the value. Everything else is done here, for whole columns at once: parsing, refusing the rows of
which a cell cannot be read, joining the admission, and keys by which a repeated row is recognised in the end.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clinical.sources.cells import Column, DateOrder, parse_integers, parse_numbers, parse_times
from clinical.sources.fingerprints import combine_hashes, hash_column, row_keys
from clinical.sources.spans import as_integers, as_times, end_of_day
from clinical.sources.spelling import Spelled, Spelling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from clinical.sources.exports import Block
    from clinical.sources.receipt import RowTally
    from clinical.sources.table_maps import Context, Fact, Refusal, TableMap

    Mask = NDArray[np.bool_]

__all__ = ["DUPLICATE_ROW", "Rows", "translate"]

DUPLICATE_ROW: Final = "duplicate row"
_MOST_REMEMBERED: Final = 1 << 16


class Rows:
    """The rows of one block while they are translated: columns by name, and which rows are refused."""

    def __init__(self, block: Block, table: TableMap, *, order: DateOrder = "") -> None:
        self.table = table
        self.numbers = block.rows
        self._order = order
        self._columns: dict[str, pa.Array] = {
            name: _whole(block.cells.column(name)) for name in block.cells.column_names
        }
        self._parsed: dict[tuple[str, str], pa.Array] = {}
        self._reasons: list[str] = [""]
        self._reason = np.zeros(len(block.rows), dtype=np.int16)  # [rows] position in `_reasons`
        self._repairs: list[tuple[str, Mask]] = []

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def kept(self) -> Mask:
        """Rows that are not refused so far: bool [rows]."""
        kept: Mask = self._reason == 0
        return kept

    def put(self, name: str, values: pa.Array) -> None:
        """Add a typed column; the name begins with @ so that it is never looked for in the file."""
        self._columns[name] = values

    def has(self, name: str) -> bool:
        """Say whether there is such a column, of the file or added."""
        return name in self._columns

    def text(self, name: str) -> pa.Array:
        """Give a column as it is: text [rows]."""
        return self._columns[name]

    def integer(self, name: str) -> pa.Array:
        """Give a column as int64 [rows]; rows whose cell is no whole number are refused."""
        return self._parse(name, "integer", parse_integers)

    def number(self, name: str) -> pa.Array:
        """Give a column as float64 [rows]; rows whose cell is no number are refused."""
        return self._parse(name, "number", parse_numbers)

    def time(self, name: str) -> pa.Array:
        """Give a column as naive timestamp[us] [rows]; rows whose cell is no time are refused.

        A day without a time of day stands at its last second: what happened during it was known by then.
        """
        return self._parse(name, "time", self._at_end_of_day)

    def moment(self, name: str) -> pa.Array:
        """Like `time`, but a day without a time of day stands at its beginning."""
        return self._parse(name, "moment", lambda cells: parse_times(cells, order=self._order))

    def refuse(self, rows: Mask, reason: str) -> None:
        """Refuse rows; the first reason of a row stays."""
        new = rows & self.kept
        if new.any():
            if reason not in self._reasons:
                self._reasons.append(reason)
            self._reason[new] = self._reasons.index(reason)

    def repair(self, rows: Mask, what: str) -> None:
        """Note that something about these rows was put right."""
        if rows.any():
            self._repairs.append((what, rows))

    def close(self, tally: RowTally, context: Context) -> None:
        """Hand the refused rows and the repairs of kept ones to the books."""
        for position, reason in enumerate(self._reasons[1:], start=1):
            tally.refuse(reason, self.numbers[self._reason == position].tolist())
        for what, rows in self._repairs:
            number = int((rows & self.kept).sum())
            if number:
                context.repaired.setdefault(self.table.name, Counter())[what] += number

    def _parse(self, name: str, kind: str, parse: Callable[[pa.Array], Column]) -> pa.Array:
        """Parse a column once; what was put into it typed is taken as it is."""
        if name.startswith("@"):
            return self._columns[name]
        if (name, kind) not in self._parsed:
            column = parse(self._columns[name])
            for reason, rows in column.refused.items():
                self.refuse(rows, f"{name} {reason}")
            for what, rows in column.repaired.items():
                self.repair(rows, f"{name}: {what}")
            self._parsed[name, kind] = column.values
        return self._parsed[name, kind]

    def _at_end_of_day(self, cells: pa.Array) -> Column:
        """Parse times, moving days to their last second."""
        column = parse_times(cells, order=self._order)
        times = as_times(column.values)
        dated = column.dated if column.dated is not None else np.zeros(len(times), dtype=bool)
        return Column(end_of_day(times, dated), column.refused, column.repaired, column.dated)


@dataclass(frozen=True, slots=True)
class _Stated:
    """One fact of a block: which rows state it, and with what."""

    fact: Fact
    rows: Mask
    code: pa.Array
    time: pa.Array
    number: pa.Array
    text: pa.Array
    unknown: Mask


def translate(rows: Rows, context: Context, *, table_number: int) -> Iterator[tuple[pa.Table, pa.Array, int]]:
    """Turn a block into events.

    Args:
        rows: the block; on return its refusals are complete.
        context: what other tables know.
        table_number: of this table among those of the source, for the keys.

    Yields:
        For each fact that some row states: the events, their keys, and how many they are.
    """
    table = rows.table
    for refusal in table.refusals:
        rows.refuse(_holds(rows, refusal), refusal.reason)
    if table.only:
        rows.refuse(~_holds(rows, table.only), table.only.reason)
    if table.derive:
        table.derive(rows, context)
    subject = rows.integer(table.subject)
    rows.refuse(_mask(pc.is_null(subject)), f"no {_spoken(table.subject)}")
    stated = [_state(rows, fact, context) for fact in table.facts]
    admission, stay = _numbers(rows, context, stated[0].time)
    stating = np.logical_or.reduce([one.rows for one in stated])
    if not stating.all():
        _refuse_silent(rows, stated[0], ~stating)
    shared = {"subject_id": subject, "hadm_id": admission, "stay_id": stay}
    if rows.has("@site_id"):
        shared["site_id"] = rows.text("@site_id")
    yield from _events(rows, stated, shared, context, table_number)


def _state(rows: Rows, fact: Fact, context: Context) -> _Stated:
    """Read the parts of one fact and find the rows that have them all."""
    nothing = pa.nulls(len(rows))
    number = rows.number(fact.number) if fact.number else nothing.cast(pa.float64())
    text = rows.text(fact.text) if fact.text else nothing.cast(pa.string())
    time = nothing.cast(pa.timestamp("us"))
    states = np.ones(len(rows), dtype=bool)
    if fact.time:
        time = rows.time(fact.time)
        if fact.time in rows.table.dates:
            time = end_of_day(as_times(time), states)
        states &= _mask(pc.is_valid(time))
    if fact.needs_number:
        states &= _mask(pc.is_valid(number))
    if fact.text and fact.number:
        text = pc.if_else(pc.is_valid(number), pa.scalar(None, pa.string()), text)
    unknown = np.zeros(len(rows), dtype=bool)
    if isinstance(fact.code, str):
        code = pa.DictionaryArray.from_arrays(np.zeros(len(rows), np.int32), pa.array([fact.code]))
    else:
        code, spelled, which = _spell(rows, fact.code, context)
        states &= np.array([bool(one.code) for one in spelled], dtype=bool)[which]
        unknown = np.array([one.unknown for one in spelled], dtype=bool)[which]
    return _Stated(fact, states, code, time, number, text, unknown)


def _spell(rows: Rows, spelling: Spelling, context: Context) -> tuple[pa.Array, list[Spelled], NDArray[np.int64]]:
    """Spell each distinct combination of cells once; also which combination each row has: int64 [rows]."""
    encoded = [pc.dictionary_encode(rows.text(name).cast(pa.string())) for name in spelling.columns]
    cells = [[*column.dictionary.to_pylist(), ""] for column in encoded]
    which = np.zeros(len(rows), dtype=np.int64)
    for column, values in zip(encoded, cells, strict=True):
        indices = pc.fill_null(column.indices, len(values) - 1).to_numpy()
        which = which * len(values) + indices
    sizes = tuple(len(values) for values in cells)
    distinct, which = _compact(which, math.prod(sizes))
    positions = np.unravel_index(distinct, sizes)
    combinations = zip(
        *([values[at] for at in place.tolist()] for values, place in zip(cells, positions, strict=True)), strict=True
    )
    spelled = [_spell_once(spelling, combination, context) for combination in combinations]
    for number, one in enumerate(spelled):
        if one.refusal:
            rows.refuse(which == number, one.refusal)
        if one.repaired:
            rows.repair(which == number, one.repaired)
        if one.title:
            context.titles[one.code] = one.title
    codes = pa.array([one.code for one in spelled], pa.string())
    return pa.DictionaryArray.from_arrays(which.astype(np.int32), codes), spelled, which


def _spell_once(spelling: Spelling, cells: tuple[str, ...], context: Context) -> Spelled:
    """Spell one combination of cells; blocks of a table repeat the same ones."""
    known = context.spelled.setdefault(spelling, {})
    if cells not in known:
        if len(known) >= _MOST_REMEMBERED:
            known.clear()
        known[cells] = spelling.spell(context.names.get(spelling.names, {}), *cells)
    return known[cells]


def _compact(which: NDArray[np.int64], size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give the distinct numbers below `size`, ascending, and the place of each row's number among them."""
    if size > 4 * len(which) + 1024:
        distinct, places = np.unique(which, return_inverse=True)
        return distinct, places
    there = np.zeros(size, dtype=bool)
    there[which] = True
    place: NDArray[np.int64] = np.cumsum(there)[which] - 1
    return np.flatnonzero(there), place


def _numbers(rows: Rows, context: Context, time: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Give admission and stay of each row, found by the time where the table leaves them out and says so."""
    table = rows.table
    found = []
    for name, spans, what in ((table.admission, context.admissions, "admission"), (table.stay, context.stays, "stay")):
        number = rows.integer(name) if name else pa.nulls(len(rows), pa.int64())
        if table.locate and number.null_count:
            at = spans.covering(as_integers(rows.integer(table.subject)), as_times(time))
            absent = _mask(pc.is_null(number)) & (at >= 0)
            if absent.any():
                number = pc.if_else(pa.array(absent), pa.array(spans.number[np.maximum(at, 0)]), number)
                rows.repair(absent, f"{what} found by time")
        found.append(number)
    return found[0], found[1]


def _refuse_silent(rows: Rows, first: _Stated, silent: Mask) -> None:
    """Refuse the rows that state no fact, naming what the first fact lacks."""
    fact = first.fact
    if fact.time and len({other.time for other in rows.table.facts}) == 1:
        rows.refuse(silent & _mask(pc.is_null(first.time)), f"no {_spoken(fact.time)}")
    if rows.table.nothing:
        rows.refuse(silent, rows.table.nothing)
        return
    if fact.time:
        rows.refuse(silent & _mask(pc.is_null(first.time)), f"no {_spoken(fact.time)}")
    if fact.needs_number:
        rows.refuse(silent & _mask(pc.is_null(first.number)), f"no {_spoken(fact.number)}")
    rows.refuse(silent, f"no {fact.code.columns[0] if isinstance(fact.code, Spelling) else fact.code}")


def _spoken(name: str) -> str:
    """Give a column's name as the file has it."""
    return name.removeprefix("@at:").removeprefix("@")


def _events(
    rows: Rows, stated: list[_Stated], shared: dict[str, pa.Array], context: Context, table_number: int
) -> Iterator[tuple[pa.Table, pa.Array, int]]:
    """Give the events of the rows that are kept, with keys that count each row once."""
    kept = rows.kept
    nobody = pa.nulls(len(rows), pa.int64())
    told_apart = [*shared.values(), *(rows.text(name) for name in rows.table.identity)]
    base = combine_hashes([hash_column(column) for column in told_apart])
    hashes = [_hash_of(one, base) for one in stated]
    row = combine_hashes([np.where(one.rows, hashed, 0) for one, hashed in zip(stated, hashes, strict=True)])
    counted = np.zeros(len(rows), dtype=bool)
    for position, one in enumerate(stated):
        here = one.rows & kept
        if not here.any():
            continue
        if one.fact.once:
            alone = combine_hashes([hash_column(column) for column in (shared["subject_id"], one.code, one.time)])
            keys = row_keys(alone, table_number, counts=np.zeros(len(rows), dtype=bool))
        else:
            own = combine_hashes([row, np.full(len(rows), position, np.uint64)])
            keys = row_keys(own, table_number, counts=~counted)
            counted |= here
        context.unknown[rows.table.name] += int((one.unknown & here).sum())
        columns = shared | {"time": one.time, "code": one.code}
        columns |= {"stay_id": nobody} if one.fact.belongs != "stay" else {}
        columns |= {"hadm_id": nobody} if one.fact.belongs == "patient" else {}
        columns |= {"numeric_value": one.number} if one.fact.number else {}
        columns |= {"text_value": one.text} if one.fact.text else {}
        events = pa.table(columns)
        chosen = pa.array(keys)
        if not here.all():
            at = pa.array(np.flatnonzero(here))
            events, chosen = events.take(at), chosen.take(at)
        yield events, chosen, len(events)


def _hash_of(stated: _Stated, base: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hash what one fact says of each row: uint64 [rows]."""
    parts = [base, hash_column(stated.code), hash_column(stated.time)]
    parts += [hash_column(stated.number)] if stated.fact.number else []
    parts += [hash_column(stated.text)] if stated.fact.text else []
    return combine_hashes(parts)


def _holds(rows: Rows, refusal: Refusal) -> Mask:
    """Mark the rows whose column holds one of the values, in any case; 1.0 is 1."""
    folded = pc.utf8_lower(pc.utf8_trim_whitespace(rows.text(refusal.column)))
    folded = pc.replace_substring_regex(folded, r"^(\d+)\.0+$", r"\1")
    return _mask(pc.is_in(folded, pa.array(sorted(refusal.values), pa.string())))


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """Give a column of a block as one array."""
    combined = column.combine_chunks()
    return (
        combined if isinstance(combined, pa.Array) else pa.concat_arrays(combined.chunks or [pa.array([], column.type)])
    )


def _mask(marked: pa.Array) -> Mask:
    """Give booleans as numpy, nothing as False."""
    mask: Mask = pc.fill_null(marked, False).to_numpy(zero_copy_only=False)
    return mask
