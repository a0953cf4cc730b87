"""Keys by which a repeated row is recognised, however far from the first one it stands.

A key has 56 bits of what the row states and of which event of it this is, seven of its table and one that says whether
the event counts its row. Only events of one patient are compared: among 100,000 rows of one patient, which is many, two
different rows share a key with probability 7e-8.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Hashes = NDArray[np.uint64]

__all__ = ["MOST_TABLES", "combine_hashes", "hash_column", "repeated_events", "repeated_rows", "row_keys"]

MOST_TABLES: Final = 128
_FACTORS: Final = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_STEP: Final = np.uint64(0x9E3779B97F4A7C15)
_MISSING: Final = np.uint64(0xD6E8FEB86659FD93)
_WHOLE: Final = re.compile(r"-?\d{1,18}", re.ASCII)


def hash_column(values: pa.Array) -> Hashes:
    """Hash each cell of a column: uint64 [rows]; equal cells have equal hashes within one process.

    Args:
        values: integers, floats, times, text or dictionary-encoded text.
    """
    if pa.types.is_dictionary(values.type):
        words = np.array([hash(word) for word in values.dictionary.to_pylist()], dtype=np.int64).view(np.uint64)
        of_row: Hashes = _mix(words)[values.indices.to_numpy()]
        return of_row
    if values.null_count == len(values):
        return np.full(len(values), _MISSING)
    if pa.types.is_string(values.type):
        return _hash_text(values)
    plain = values.cast(pa.int64()) if pa.types.is_timestamp(values.type) else values
    hashed = _mix(pc.fill_null(plain, 0).to_numpy().view(np.uint64))
    return _without_missing(hashed, values)


def combine_hashes(hashes: Sequence[Hashes]) -> Hashes:
    """Make one hash of several, in which their order counts: uint64 [rows]."""
    combined = np.zeros_like(hashes[0])
    for one in hashes:
        combined = _mix(combined + _STEP ^ one)
    return combined


def row_keys(hashes: Hashes, table_number: int, *, counts: NDArray[np.bool_]) -> Hashes:
    """Make keys: uint64 [rows].

    Args:
        hashes: uint64 [rows].
        table_number: from 0 to 127.
        counts: bool [rows], whether the event counts its row; a row with three events is counted by one of them.
    """
    return hashes << np.uint64(8) | np.uint64(table_number << 1) | counts.astype(np.uint64)


def repeated_rows(repeats: Mapping[int, int], table_number: int) -> int:
    """Count a table's repeated rows among repeated events, given by the lowest byte of their keys."""
    return repeats.get(table_number << 1 | 1, 0)


def repeated_events(repeats: Mapping[int, int], table_number: int) -> int:
    """Count a table's repeated events."""
    return repeats.get(table_number << 1, 0) + repeats.get(table_number << 1 | 1, 0)


def _hash_text(values: pa.Array) -> Hashes:
    """Hash text; a column of whole numbers, as identifiers are, is hashed by their value, which is faster."""
    try:
        hashed = _mix(pc.fill_null(values.cast(pa.int64()), 0).to_numpy().view(np.uint64))
    except pa.ArrowInvalid:
        encoded = pc.dictionary_encode(values)
        words = [int(word) if _WHOLE.fullmatch(word) else hash(word) for word in encoded.dictionary.to_pylist()]
        hashed = _mix(np.array(words, dtype=np.int64).view(np.uint64))[pc.fill_null(encoded.indices, 0).to_numpy()]
    return _without_missing(hashed, values)


def _without_missing(hashed: Hashes, values: pa.Array) -> Hashes:
    """Give empty cells a hash of their own."""
    if not values.null_count:
        return hashed
    found: Hashes = np.where(pc.is_null(values).to_numpy(zero_copy_only=False), _MISSING, hashed)
    return found


def _mix(values: Hashes) -> Hashes:
    """Spread bits (the splitmix64 finaliser)."""
    for shift, factor in ((30, _FACTORS[0]), (27, _FACTORS[1])):
        values = (values ^ (values >> np.uint64(shift))) * factor
    return values ^ (values >> np.uint64(31))
