"""The inner loops of the search for neighbours, made into machine code when the first search begins.

They are written so that a compiler turns them into vector instructions: one pass over the candidates for four columns
at a time, on bytes, without a branch. Then blocks of candidates are ruled out by their lowest rough sum, and who is
left is measured. The candidates of a block follow each other in the table, but not in memory: there the first ones of
all blocks come first, so that the lowest sums of all blocks are found at once.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    Scan = Callable[[tuple[Any, Any, Any], tuple[Any, Any, Any], tuple[int, int, int], Any, Any], None]

TOGETHER = 4  # columns whose rough differences are added in a byte
BLOCK = 64  # candidates that are ruled out together
FAR = 65535  # a rough sum above all others: who is not to be found


@lru_cache(maxsize=1)
def compiled_scan() -> Scan:  # noqa: C901  # a compiled loop can call only what was compiled around it
    """Returns the loop over rows asked about, with all it calls, in machine code; made once a process.

    Its arguments:
        asked: uint8 [Q, G, 4] of numbers, uint8 [Q, G', 4] of codes, float32 [Q, F] exactly.
        among: uint8 [G, 4, 64 B], uint8 [G', 4, 64 B], candidate j at (j % 64) B + j // 64; float32 [M, F].
        scale: the unit, the rounding forgiven, `first`: row i does not find candidate `first` + i.
        index: int64 [Q, k], to be filled.
        distance: float64 [Q, k], infinite, to be filled.
    """
    import numba

    make = numba.njit(nogil=True)
    add_numbers, add_listed, lower = make(_add_numbers), make(_add_listed), make(_lower)
    measure, insert = make(_measure), make(_insert)

    @make
    def reach(row: Any, among: Any, sums: Any, lowest: Any, k: int) -> float:
        """A distance within which there are k candidates: of k parts of the blocks, the roughly nearest is measured."""
        blocks, farthest = lowest.shape[0], 0.0
        for part in range(k):
            start, end = part * blocks // k, (part + 1) * blocks // k
            best = start + np.argmin(lowest[start:end]) if end > start else -1
            if best < 0 or lowest[best] == FAR:
                return np.inf
            place = 0
            while sums[place, best] != lowest[best]:
                place += 1
            farthest = max(farthest, measure(row, among[best * BLOCK + place]))
        return farthest

    @make
    def choose(row: Any, among: Any, sums: Any, lowest: Any, scale: Any, index: Any, distance: Any) -> None:
        """Measures whom the rough sums do not rule out, and keeps the nearest."""
        unit, forgiven = scale
        last = distance.shape[0] - 1
        bound = min(reach(row, among, sums, lowest, last + 1) * unit + forgiven, FAR - 1.0)
        for block in range(lowest.shape[0]):
            if lowest[block] > bound:
                continue
            for place in range(BLOCK):
                if sums[place, block] <= bound:
                    total = measure(row, among[block * BLOCK + place])
                    if total < distance[last]:
                        insert(block * BLOCK + place, total, index, distance)
                        bound = min(bound, distance[last] * unit + forgiven)
            if distance[last] == 0:
                break

    @make
    def scan(asked: Any, among: Any, scale: Any, index: Any, distance: Any) -> None:
        unit, forgiven, first = scale
        M, blocks = among[2].shape[0], among[0].shape[2] // BLOCK
        sums, lowest = np.empty(blocks * BLOCK, np.uint16), np.empty(blocks, np.uint16)
        table = sums.reshape(BLOCK, blocks)
        for i in range(index.shape[0]):
            sums[:] = 0
            for group in range(among[0].shape[0]):
                add_numbers(asked[0][i, group], among[0][group], np.uint8(unit), sums)
            for group in range(among[1].shape[0]):
                add_listed(asked[1][i, group], among[1][group], np.uint8(unit), sums)
            for none in range(M, blocks * BLOCK):
                table[none % BLOCK, none // BLOCK] = FAR
            if first + i >= 0:
                table[(first + i) % BLOCK, (first + i) // BLOCK] = FAR
            lower(table, lowest)
            choose(asked[2][i], among[2], table, lowest, (unit, forgiven), index[i], distance[i])

    compiled: Scan = scan
    return compiled


def _add_numbers(here: Any, there: Any, unit: Any, sums: Any) -> None:
    """Adds the rough differences of four columns of numbers; of both differences modulo 256 the smaller is the real."""
    a, b, c, d = here[0], here[1], here[2], here[3]
    for j in range(sums.shape[0]):
        first = min(np.uint8(a - there[0, j]), np.uint8(there[0, j] - a), unit)
        second = min(np.uint8(b - there[1, j]), np.uint8(there[1, j] - b), unit)
        third = min(np.uint8(c - there[2, j]), np.uint8(there[2, j] - c), unit)
        fourth = min(np.uint8(d - there[3, j]), np.uint8(there[3, j] - d), unit)
        sums[j] = np.uint16(sums[j] + np.uint8(np.uint8(first + second) + np.uint8(third + fourth)))


def _add_listed(here: Any, there: Any, unit: Any, sums: Any) -> None:
    """Adds the unit for each of four columns in which codes differ."""
    a, b, c, d = here[0], here[1], here[2], here[3]
    none = np.uint8(0)
    for j in range(sums.shape[0]):
        first = unit if there[0, j] != a else none
        second = unit if there[1, j] != b else none
        third = unit if there[2, j] != c else none
        fourth = unit if there[3, j] != d else none
        sums[j] = np.uint16(sums[j] + np.uint8(np.uint8(first + second) + np.uint8(third + fourth)))


def _lower(sums: Any, lowest: Any) -> None:
    """Fills in the lowest rough sum of each block of candidates."""
    lowest[:] = FAR
    for place in range(sums.shape[0]):
        for block in range(lowest.shape[0]):
            lowest[block] = min(lowest[block], sums[place, block])


def _measure(row: Any, other: Any) -> Any:
    """The exact distance of two rows."""
    total: Any = 0.0
    for f in range(row.shape[0]):
        total += min(abs(np.float64(other[f]) - np.float64(row[f])), 1.0)
    return total


def _insert(candidate: int, total: float, index: Any, distance: Any) -> None:
    """Puts a candidate that is nearer than the last where it belongs, behind those as near."""
    place = distance.shape[0] - 1
    while place and distance[place - 1] > total:
        distance[place] = distance[place - 1]
        index[place] = index[place - 1]
        place -= 1
    distance[place] = total
    index[place] = candidate
