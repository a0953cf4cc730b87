"""Exact nearest neighbours of mixed rows: who in one table lies closest to every row of another.

Every distance attack asks this of some 10,000 rows against 10,000, several times, so it has to be exact (an approximate
index forgets the very outliers the attacks are about) and fast. So every pair is looked at twice, the first time
roughly: a cell becomes one byte, and what two rows differ by at least becomes a sum of small whole numbers, which a
processor adds by the dozen. Only the few candidates whose least possible distance does not rule them out are measured
exactly.

A column of whole numbers alone (categories, truth values) differs by the unit or not at all. A number is rounded to a
multiple of the unit; rounding two of them can widen a gap by one, so as many as there are such columns is forgiven.
Four columns fit in a byte, and all of them in two.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from synth.distances import MISSING
from synth.scan import BLOCK, FAR, TOGETHER, compiled_scan

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from synth.distances import Rows

    Bytes = NDArray[np.uint8]

_UNIT = 63  # the roughest difference of two cells: four of them stay below 256
_ALIGNED = 16  # the number of blocks is a multiple of it, so that vectors fit
_CHUNK = 256  # rows asked about in one turn of a thread


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The nearest rows of a table, nearest first; of equally near ones the earlier row.

    Attributes:
        index: int64 [N, k], positions in the table that was searched.
        distance: float32 [N, k], sums over columns.
    """

    index: NDArray[np.int64]
    distance: Rows


@dataclass(frozen=True, slots=True)
class _Rough:
    """Rows as bytes, in groups of four columns; what is left of a group is 0 for all.

    Attributes:
        numbers: uint8 [N, G, 4], multiples of the unit's part, missing twice the unit.
        listed: uint8 [N, G', 4], codes; two of them may share a byte, which only weakens a bound.
    """

    numbers: Bytes
    listed: Bytes

    def across(self) -> tuple[Bytes, Bytes]:
        """The same by column and in blocks, as the scan reads candidates: uint8 [G, 4, 64 B] twice."""
        return _across(self.numbers), _across(self.listed)


def nearest(rows: Rows, among: Rows, *, k: int = 1, threads: int | None = None) -> Neighbours:
    """Finds for every row its k nearest rows of another table.

    Args:
        rows: float32 [N, F] from `synth.distances.encode`.
        among: float32 [M, F], encoded with the same columns.
        k: 1..M.
        threads: None takes every processor this process may use.

    Returns:
        Neighbours [N, k].

    Raises:
        ValueError: the tables differ in columns, or there are fewer than k candidates.

    Guarantee:
        Exact: no other candidate is nearer by sums in float64, taken over columns in their order; equal rows are at
        distance 0 exactly.
    """
    return _search(rows, among, k=k, skip_self=False, threads=threads)


def nearest_others(rows: Rows, *, k: int = 1, threads: int | None = None) -> Neighbours:
    """Finds for every row its k nearest *other* rows of its own table; a duplicate is another row.

    Raises:
        ValueError: there are fewer than k other rows.
    """
    return _search(rows, rows, k=k, skip_self=True, threads=threads)


def _search(rows: Rows, among: Rows, *, k: int, skip_self: bool, threads: int | None) -> Neighbours:
    """Writes both tables roughly, lets threads scan chunks of rows, and gathers what they found."""
    if rows.ndim != 2 or among.ndim != 2 or rows.shape[1] != among.shape[1]:
        raise ValueError(f"both tables must have the same columns, got the shapes {rows.shape} and {among.shape}")
    candidates = len(among) - skip_self
    if not 1 <= k <= candidates:
        raise ValueError(f"k must lie in 1..{candidates}, the rows there are to find, got {k}")
    asked, exact = (np.ascontiguousarray(table, dtype=np.float32) for table in (rows, among))
    unit = min(_UNIT, (FAR - 1) // max(1, rows.shape[1]))
    listed = _whole(asked) & _whole(exact)
    rough, (numbers, codes) = _roughly(asked, listed, unit), _roughly(exact, listed, unit).across()
    forgiven = int((~listed).sum()) + 1  # one for the last digit of a float
    index, distance = np.full((len(rows), k), -1, np.int64), np.full((len(rows), k), np.inf)
    scan = compiled_scan()

    def scan_chunk(start: int) -> None:
        part = slice(start, min(start + _CHUNK, len(rows)))
        first = start if skip_self else -len(rows)
        scan(
            (rough.numbers[part], rough.listed[part], asked[part]),
            (numbers, codes, exact),
            (unit, forgiven, first),
            index[part],
            distance[part],
        )

    workers = threads or len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(scan_chunk, range(0, len(rows), _CHUNK)))
    return Neighbours(index, distance.astype(np.float32))


def _whole(rows: Rows) -> NDArray[np.bool_]:
    """Which columns hold whole numbers alone, so that two cells differ by 1 or not at all, bool [F]."""
    whole: NDArray[np.bool_] = (rows == np.rint(rows)).all(axis=0)
    return whole


def _roughly(rows: Rows, listed: NDArray[np.bool_], unit: int) -> _Rough:
    """Writes every cell as a byte."""
    numbers = np.rint(np.clip(rows[:, ~listed], 0, 1) * unit)
    numbers[rows[:, ~listed] == MISSING] = 2 * unit
    codes = rows[:, listed].astype(np.int64) % 255
    codes[rows[:, listed] == MISSING] = 255
    return _Rough(_grouped(numbers), _grouped(codes))


def _across(part: Bytes) -> Bytes:
    """Turns rows around into blocks; what is left of the last ones is 0, and the scan leaves it out."""
    count, groups, _ = part.shape
    blocks = -(-count // (BLOCK * _ALIGNED)) * _ALIGNED
    filled = np.zeros((blocks * BLOCK, groups, TOGETHER), np.uint8)
    filled[:count] = part
    laid: Bytes = filled.reshape(blocks, BLOCK, groups, TOGETHER).transpose(2, 3, 1, 0)
    return np.ascontiguousarray(laid).reshape(groups, TOGETHER, blocks * BLOCK)


def _grouped(cells: NDArray[Any]) -> Bytes:
    """Bytes in groups of four columns, the last one filled up with zeros."""
    count, columns = cells.shape
    filled = np.zeros((count, -(-columns // TOGETHER) * TOGETHER), np.uint8)
    filled[:, :columns] = cells
    return filled.reshape(count, -1, TOGETHER)
