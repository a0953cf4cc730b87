"""Exact nearest neighbours of mixed rows: who in one table lies closest to every row of another.

Every distance attack asks this question of some 10,000 rows against 10,000, several times, so it has to be exact (an
approximate index forgets the very outliers the attacks are about) and fast. Two rows differ in a column by 0 to 1, in
the spirit of Gower:

* numbers and dates by their difference over the column's *public* range, at most 1;
* ordered categories by the difference of their ranks over the highest rank;
* categories and truth values by 0 where they agree and 1 where not;
* missing is equal to missing and 1 away from everything else.

A distance is the sum over columns. Written as numbers, each of these is ``min(|a - b|, 1)``: categories are whole
numbers, and missing a number far from all others. So one loop without a branch serves every kind of column, and the
compiler turns it into vector instructions over a block of candidates, column by column. After every few columns a block
none of whose candidates can still come close is left; columns that tell rows apart best come first. Threads share the
rows asked about, as the compiled loop lets go of Python's lock.

Source: Gower 1971, "A general coefficient of similarity and some of its properties".
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from synth.columns import LISTED
from synth.tables import as_numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from synth.columns import Column

    Rows = NDArray[np.float32]

MISSING = 1e6  # farther from every code and every scaled value than the most a column counts
_BLOCK = 128  # candidates a block: its sums and one column of it stay in the fastest cache
_LOOK = 4  # columns between two looks at whether a block is lost
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


def encode(table: pd.DataFrame, columns: Sequence[Column]) -> Rows:
    """Writes rows as numbers whose differences are the distances of this module.

    Args:
        table: typed rows (`synth.tables.typed_table`); columns that are not asked for are ignored.
        columns: what they mean, with public ranges and categories.

    Returns:
        float32 [N, F], one column for each of `columns`.

    """
    written = [_encode_column(table[column.name], column) for column in columns]
    return np.column_stack(written).astype(np.float32) if written else np.zeros((len(table), 0), np.float32)


def nearest(rows: Rows, among: Rows, *, k: int = 1, threads: int | None = None) -> Neighbours:
    """Finds for every row its k nearest rows of another table.

    Args:
        rows: float32 [N, F] from `encode`.
        among: float32 [M, F] from `encode` with the same columns.
        k: 1..M.
        threads: None takes every processor this process may use.

    Returns:
        Neighbours [N, k].

    Raises:
        ValueError: the tables differ in columns, or there are fewer than k candidates.

    Guarantee:
        Exact: no other candidate is nearer by sums in float32, taken over columns in one order for all pairs; equal
        rows are at distance 0 exactly.
    """
    return _search(rows, among, k=k, skip_self=False, threads=threads)


def nearest_others(rows: Rows, *, k: int = 1, threads: int | None = None) -> Neighbours:
    """Finds for every row its k nearest *other* rows of its own table; a duplicate is another row.

    Raises:
        ValueError: there are fewer than k other rows.
    """
    return _search(rows, rows, k=k, skip_self=True, threads=threads)


def _search(rows: Rows, among: Rows, *, k: int, skip_self: bool, threads: int | None) -> Neighbours:
    """Orders the columns, lets threads scan chunks of rows, and gathers what they found."""
    if rows.ndim != 2 or among.ndim != 2 or rows.shape[1] != among.shape[1]:
        raise ValueError(f"both tables must have the same columns, got the shapes {rows.shape} and {among.shape}")
    candidates = len(among) - skip_self
    if not 1 <= k <= candidates:
        raise ValueError(f"k must lie in 1..{candidates}, the rows there are to find, got {k}")
    order = _by_power(among)
    asked = np.ascontiguousarray(rows[:, order], dtype=np.float32)
    columns = np.ascontiguousarray(among[:, order].T, dtype=np.float32)
    index, distance = np.full((len(rows), k), -1, np.int64), np.full((len(rows), k), np.inf, np.float32)
    scan = _compiled()

    def scan_chunk(start: int) -> None:
        end = min(start + _CHUNK, len(rows))
        scan(asked[start:end], columns, start if skip_self else -len(rows), index[start:end], distance[start:end])

    workers = threads or len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(scan_chunk, range(0, len(rows), _CHUNK)))
    return Neighbours(index, distance)


def _by_power(among: Rows, *, pairs: int = 4096) -> NDArray[np.int64]:
    """Columns by how far two candidates differ in them on average, most first, over evenly spread pairs."""
    M = len(among)
    left = np.linspace(0, M - 1, min(pairs, M)).astype(np.int64)
    right = (left * 7919 + M // 2) % M  # any fixed pairing serves: the order changes the time, not what is found
    gaps = np.minimum(np.abs(among[left] - among[right]), 1).mean(axis=0)
    order: NDArray[np.int64] = np.argsort(-gaps, kind="stable")
    return order


@lru_cache(maxsize=1)
def _compiled() -> Callable[[Any, Any, int, Any, Any], None]:
    """The loop in machine code, made once a process."""
    import numba

    compiled: Callable[[Any, Any, int, Any, Any], None] = numba.njit(nogil=True)(_scan)
    return compiled


def _scan(  # noqa: C901  # one loop for the compiler, which would make a called function a module of its own
    asked: Any, columns: Any, first: int, index: Any, distance: Any
) -> None:
    """Fills `index` and `distance` for the rows asked; row i does not find candidate `first` + i."""
    F, M = columns.shape
    k = index.shape[1]
    sums = np.empty(_BLOCK, np.float32)
    one = np.float32(1)
    for i in range(asked.shape[0]):
        for start in range(0, M, _BLOCK):
            width = min(_BLOCK, M - start)
            limit = distance[i, k - 1]
            sums[:] = np.float32(0)
            alive = 1
            f = 0
            while f < F and alive:
                for column in range(f, min(f + _LOOK, F)):
                    here = asked[i, column]
                    there = columns[column, start : start + width]
                    for j in range(width):
                        sums[j] += min(abs(there[j] - here), one)
                f += _LOOK
                alive = 0
                for j in range(width):
                    alive += sums[j] < limit
            if not alive:
                continue
            for j in range(width):
                if sums[j] < distance[i, k - 1] and start + j != first + i:
                    place = k - 1
                    while place and distance[i, place - 1] > sums[j]:
                        distance[i, place] = distance[i, place - 1]
                        index[i, place] = index[i, place - 1]
                        place -= 1
                    distance[i, place] = sums[j]
                    index[i, place] = start + j


def _encode_column(cells: pd.Series, column: Column) -> NDArray[np.float64]:
    """One typed column as numbers: scaled by the public range, or codes."""
    missing = cells.isna().to_numpy(dtype=bool)
    if column.kind in LISTED:
        codes = cells.map({category: code for code, category in enumerate(column.categories)})
        steps = max(column.levels - 1, 1) if column.kind == "ordinal" else 1
        values = codes.astype("float64").to_numpy() / steps
    else:
        low, width = (0.0, 1.0) if column.kind == "boolean" else (column.bottom, column.top - column.bottom)
        values = (as_numbers(cells).to_numpy() - low) / (width or 1.0)
    return np.where(missing, MISSING, values)
