"""One block of an OMOP table while it is read: columns parsed, rows refused under their first reason.

A cell that is used and cannot be read refuses its row; a cell that is empty is only nothing. OMOP gives each fact a day
and perhaps a time, and its convention writes an unknown time as midnight (OHDSI THEMIS, issue 147): both mean the whole
day, and a fact is known by its end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clinical.sources.cells import parse_integers, parse_numbers, parse_times
from clinical.sources.omop_book import NEVER

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from clinical.sources.cells import Column
    from clinical.sources.exports import Block
    from clinical.sources.omop_book import SeenKeys
    from clinical.sources.receipt import RowTally

    Integers = NDArray[np.int64]
    Mask = NDArray[np.bool_]

__all__ = ["OmopRows", "combinations", "to_timestamps"]

_DAY: Final = 86_400_000_000
_LAST_SECOND: Final = _DAY - 1_000_000


class OmopRows:
    """The rows of one block: `left` marks those that are not refused.

    Args:
        block: columns of text; an absent column is all null.
        tally: where rows are counted.
    """

    def __init__(self, block: Block, tally: RowTally) -> None:
        self._tally = tally
        self._numbers = block.rows
        self._cells = {name: _whole(block.cells.column(name)) for name in block.cells.column_names}
        self.left: Mask = np.ones(len(block.rows), dtype=bool)
        tally.read += block.read
        for reason, rows in block.refused.items():
            tally.refuse(reason, list(rows))

    def __len__(self) -> int:
        return len(self.left)

    def refuse(self, rows: Mask, reason: str) -> None:
        """Refuse rows that are not refused already."""
        new = self.left & rows
        if new.any():
            self._tally.refuse(reason, self._numbers[new].tolist())
            self.left &= ~new

    def numbers_of(self, rows: Mask) -> list[int]:
        """Give the numbers of some rows in their table, from 1."""
        numbers: list[int] = self._numbers[rows].tolist()
        return numbers

    def words(self, name: str) -> pa.Array:
        """Give a column as text [rows]."""
        return self._cells[name]

    def integers(self, name: str) -> tuple[Integers, Mask]:
        """Give a column as int64 [rows], 0 where there is nothing, and where there is something."""
        values = self._parsed(name, parse_integers)
        given = _mask(pc.is_valid(values))
        return pc.fill_null(values, 0).to_numpy(), given

    def required(self, name: str) -> Integers:
        """Give a column as int64 [rows]; a row without it is refused."""
        values, given = self.integers(name)
        self.refuse(~given, f"no {name}")
        return values

    def floats(self, name: str) -> pa.Array:
        """Give a column as float64 [rows] with nulls."""
        return self._parsed(name, parse_numbers)

    def time(self, moment: str, day: str, *, start: bool = False) -> Integers:
        """Give a time in microseconds since 1970 [rows]; `NEVER` where neither column has one.

        Args:
            moment: the column with a time of day, which may be midnight for "unknown".
            day: the column with the day, for rows without the other.
            start: a whole day stands at its first moment instead of its last second.
        """
        exact = self._times(moment)
        times = np.where(exact == NEVER, self._times(day), exact)
        if start:
            return times
        midnight = (times != NEVER) & (times % _DAY == 0)
        return np.where(midnight, times + _LAST_SECOND, times)

    def refuse_repeats(self, keys: Integers, given: Mask, seen: SeenKeys) -> None:
        """Refuse rows whose key was there before; rows without a key are not compared."""
        at = np.flatnonzero(self.left & given)
        repeated = np.zeros(len(self), dtype=bool)
        repeated[at] = seen.add(keys[at])
        self.refuse(repeated, "duplicate key")

    def _times(self, name: str) -> Integers:
        """Give a column of times in microseconds."""
        values = self._parsed(name, parse_times).cast(pa.int64())
        times: Integers = pc.fill_null(values, int(NEVER)).to_numpy()
        return times

    def _parsed(self, name: str, parse: Callable[[pa.Array], Column]) -> pa.Array:
        """Parse a column and refuse the rows that cannot be."""
        column = parse(self._cells[name])
        for reason, rows in column.refused.items():
            self.refuse(rows, f"{name} {reason}")
        return column.values


def to_timestamps(times: Integers) -> pa.Array:
    """Give microseconds as timestamp[us] [rows]; `NEVER` is null."""
    return pa.array(times, mask=times == NEVER).cast(pa.timestamp("us"))


def combinations(columns: Sequence[pa.Array]) -> tuple[list[tuple[Any, ...]], Integers]:
    """Find the distinct combinations of some columns.

    Returns:
        Each combination once, and which of them each row has: int64 [rows].
    """
    which = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        encoded = pc.dictionary_encode(column, null_encoding="encode")
        folded = which * max(len(encoded.dictionary), 1) + encoded.indices.to_numpy().astype(np.int64)
        which = np.unique(folded, return_inverse=True)[1].astype(np.int64)
    _, first = np.unique(which, return_index=True)
    cells = [column.take(pa.array(first)).to_pylist() for column in columns]
    return list(zip(*cells, strict=True)), which


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """Give a column of a block as one array."""
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.nulls(0, column.type)


def _mask(marked: pa.Array) -> Mask:
    """Give booleans as numpy."""
    mask: Mask = marked.to_numpy(zero_copy_only=False)
    return mask
