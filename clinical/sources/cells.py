"""Cells of text into numbers and times, a column at a time, saying of each cell why it is none.

Published data sets parse at once, in Arrow's own casts. A copy that went through a spreadsheet or another system does
not, and then single cells are looked at: what has one certain reading is repaired and counted, everything else is
named and left to the caller to refuse. Day and month that could be either are never guessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

__all__ = ["DATE_ORDERS", "Column", "DateOrder", "parse_integers", "parse_numbers", "parse_times"]

DateOrder = Literal["", "day-first", "month-first"]
DATE_ORDERS: Final[tuple[DateOrder, ...]] = ("", "day-first", "month-first")

_LARGEST: Final = float(np.finfo(np.float32).max)
_FIRST, _LAST = datetime(1678, 1, 1), datetime(2261, 12, 31)  # noqa: DTZ001 - what nanoseconds since 1970 can hold
_INTEGER: Final = re.compile(r"\s*([+-]?\d{1,18})(?:\.0*)?\s*", re.ASCII)
_NUMBER: Final = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?)\s*", re.ASCII)
_ISO_LIKE: Final = r"^\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?)?$"
_CLOCK: Final = r"(?:[ T]+(\d{1,2}):(\d{2})(?::(\d{2})(\.\d{1,6})?)?\s*([AP]M)?)?"
_YEAR_FIRST: Final = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})" + _CLOCK, re.ASCII)
_YEAR_LAST: Final = re.compile(r"(\d{1,2})[-/.](\d{1,2})[-/.](\d{4})" + _CLOCK, re.ASCII)
_MONTH_NAMED: Final = re.compile(r"(\d{1,2})[- ]([A-Z]{3})[A-Z]*[- ](\d{4})" + _CLOCK, re.ASCII)
_ZONE: Final = re.compile(r".*\d:\d\d.*(?:Z|[+-]\d\d:?(?:\d\d)?|\b[A-Z]{3,4})", re.ASCII)
_MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_REWRITTEN: Final = "time in another form"


@dataclass(frozen=True, slots=True)
class Column:
    """One parsed column.

    Attributes:
        values: int64, float64 or timestamp[us]; null where the cell was empty or could not be read.
        refused: rows whose cell could not be read, by reason, the column's name not included.
        repaired: rows whose cell had another form with one certain reading, by what was wrong.
        dated: of times only: rows whose cell gave a day and no time of day.
    """

    values: pa.Array
    refused: Mapping[str, Mask]
    repaired: Mapping[str, Mask]
    dated: Mask | None = None


def parse_integers(cells: pa.Array) -> Column:
    """Read whole numbers; 12.0 is 12, as a column with gaps comes out of many programs.

    Args:
        cells: text.
    """
    try:
        return Column(cells.cast(pa.int64()), {}, {})
    except pa.ArrowInvalid:
        return _parse_each(cells, _read_integer, pa.int64())


def parse_numbers(cells: pa.Array) -> Column:
    """Read decimal numbers that a 32-bit float can hold; infinities and "not a number" are none.

    Args:
        cells: text.
    """
    try:
        values = cells.cast(pa.float64())
        extremes = pc.min_max(values).as_py()
        if extremes["min"] is None or max(abs(extremes["min"]), abs(extremes["max"])) <= _LARGEST:
            return Column(values, {}, {})
    except pa.ArrowInvalid:
        pass
    return _parse_each(cells, _read_number, pa.float64())


def parse_times(cells: pa.Array, *, order: DateOrder = "") -> Column:
    """Read naive times between 1678 and 2261.

    Args:
        cells: text, usually 2150-01-31 10:05:00; the time of day may be missing, and is then midnight.
        order: how 3/4/2150 is meant, where somebody knows; otherwise only a day above twelve decides.
    """
    try:
        values = cells.cast(pa.timestamp("us"))
        extremes = pc.min_max(values).as_py()
        if extremes["min"] is None or (extremes["min"] >= _FIRST and extremes["max"] <= _LAST):
            return Column(values, {}, {}, _mask(pc.equal(pc.binary_length(cells), 10)))
    except pa.ArrowInvalid:
        pass
    return _parse_each_time(cells, order)


def _parse_each(cells: pa.Array, read: Callable[[str], int | float | str], kind: pa.DataType) -> Column:
    """Read each distinct cell; a text instead of a value is the reason why there is none."""
    distinct = pc.dictionary_encode(cells)
    read_cells = [read(cell) for cell in distinct.dictionary.to_pylist()]
    values = pa.array([None if isinstance(value, str) else value for value in read_cells], kind)
    reasons = [value if isinstance(value, str) else "" for value in read_cells]
    return Column(values.take(distinct.indices), _by_word(distinct.indices, reasons), {})


def _read_integer(cell: str) -> int | str:
    """Read one whole number."""
    found = _INTEGER.fullmatch(cell)
    return int(found[1]) if found else "is not a whole number"


def _read_number(cell: str) -> float | str:
    """Read one number."""
    found = _NUMBER.fullmatch(cell)
    if not found:
        return "is not a number"
    value = float(found[1])
    return value if abs(value) <= _LARGEST else "is too large a number"


def _parse_each_time(cells: pa.Array, order: DateOrder) -> Column:
    """Read each distinct cell of a column in which some cell is not as published."""
    distinct = pc.dictionary_encode(cells)
    found = [_read_time(cell, order) for cell in distinct.dictionary.to_pylist()]
    values = pa.array([time for time, *_ in found], pa.timestamp("us"))
    dated = pa.array([dated for _, dated, *_ in found], pa.bool_())
    usual = _mask(pc.match_substring_regex(distinct.dictionary, _ISO_LIKE))
    repairs = [_REWRITTEN if time is not None and not iso else "" for (time, *_), iso in zip(found, usual, strict=True)]
    return Column(
        values.take(distinct.indices),
        _by_word(distinct.indices, [reason for *_, reason in found]),
        _by_word(distinct.indices, repairs),
        _mask(dated.take(distinct.indices)),
    )


@lru_cache(maxsize=1 << 16)
def _read_time(cell: str, order: DateOrder) -> tuple[datetime | None, bool, str]:
    """Read one time: the time, whether only the day was given, why it cannot be read."""
    bare = cell.strip().upper()
    date, clock = _read_date(bare, order)
    if isinstance(date, str):
        return None, False, "has a time zone" if _ZONE.fullmatch(bare) else date
    try:
        time = datetime(*date) + _read_clock(*clock)  # noqa: DTZ001 - event times are naive by the profile
    except ValueError:
        return None, False, "is not a time"
    except OverflowError:
        return None, False, "is not between 1678 and 2261"
    if not _FIRST <= time <= _LAST:
        return None, False, "is not between 1678 and 2261"
    return time, clock[0] is None, ""


def _read_date(bare: str, order: DateOrder) -> tuple[tuple[int, int, int] | str, tuple[str | None, ...]]:
    """Read the day, or say why not; and the parts of the time of day."""
    if found := _YEAR_FIRST.fullmatch(bare):
        return (int(found[1]), int(found[2]), int(found[3])), found.groups()[3:]
    if (found := _MONTH_NAMED.fullmatch(bare)) and found[2] in _MONTHS:
        return (int(found[3]), _MONTHS.index(found[2]) + 1, int(found[1])), found.groups()[3:]
    if not (found := _YEAR_LAST.fullmatch(bare)):
        return "is not a time", ()
    first, second, year = int(found[1]), int(found[2]), int(found[3])
    if order == "day-first" or first > 12 or first == second:
        return (year, second, first), found.groups()[3:]
    if order == "month-first" or second > 12:
        return (year, first, second), found.groups()[3:]
    return "could be day or month first", ()


def _read_clock(
    hour: str | None, minute: str | None, second: str | None, fraction: str | None, half: str | None
) -> timedelta:
    """Read the time of day; a ValueError when there is no such time."""
    if hour is None:
        return timedelta()
    hours, minutes, seconds = int(hour), int(minute or 0), int(second or 0)
    if half:
        if not 1 <= hours <= 12:
            raise ValueError
        hours = hours % 12 + 12 * (half == "PM")
    if hours > 23 or minutes > 59 or seconds > 59:
        raise ValueError
    microseconds = round(float(fraction or 0) * 1e6)
    return timedelta(hours=hours, minutes=minutes, seconds=seconds, microseconds=microseconds)


def _by_word(indices: pa.Array, words: list[str]) -> dict[str, Mask]:
    """Mark the rows of each word; "" is none."""
    of_row = pa.array(words, pa.string()).take(indices)
    return {word: _mask(pc.equal(of_row, word)) for word in dict.fromkeys(words) if word}


def _mask(marked: pa.Array) -> Mask:
    """Give booleans as numpy, nothing as False."""
    mask: Mask = pc.fill_null(marked, False).to_numpy(zero_copy_only=False)
    return mask
