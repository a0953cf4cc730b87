"""Columns of foreign MEDS shards brought to the profile's types, or refused with the shard and the column named.

Writers differ in the width of numbers, in text that is dictionary-encoded, in NaN for nothing and in zones of times.
What cannot lose meaning is cast; anything else is one clear line and never a guess.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from clinical.profile import ProfileError

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from clinical.sources.meds_files import Shard

__all__ = ["check_unicode", "naive_times", "numbers", "one_array", "text", "whole_numbers"]

_NUMERIC = (pa.types.is_floating, pa.types.is_integer, pa.types.is_decimal, pa.types.is_null)


def naive_times(times: pa.Array, shard: Shard, zone: ZoneInfo | None) -> pa.Array:
    """Bring times to naive microseconds; a zone of theirs is only left by the user's word for the hospital's."""
    kind = times.type
    if pa.types.is_null(kind):
        return times.cast(pa.timestamp("us"))
    if not pa.types.is_timestamp(kind):
        raise ProfileError(f"{shard.name}: column 'time' is {kind}; MEDS says timestamp[us]")
    if kind.tz is not None and zone is None:
        raise ProfileError(
            f"{shard.name}: column 'time' has the time zone {kind.tz}, and times are naive here; name the "
            "hospital's zone with --time-zone (UTC keeps the hours as they are)"
        )
    try:
        if kind.tz is None or zone is None:
            return times.cast(pa.timestamp("us"), safe=kind.unit != "ns")
        aware = times.cast(pa.timestamp("us", tz=kind.tz), safe=kind.unit != "ns")
        return pc.local_timestamp(aware.cast(pa.timestamp("us", tz=zone.key)))
    except pa.ArrowInvalid:
        raise ProfileError(f"{shard.name}: column 'time' holds times that microseconds cannot") from None


def one_array(block: pa.Table, name: str) -> pa.Array:
    """Give one column as one array."""
    return (
        pa.concat_arrays(block.column(name).chunks)
        if block.column(name).num_chunks
        else block.column(name).combine_chunks()
    )


def text(block: pa.Table, name: str, shard: Shard) -> pa.Array:
    """Give a column of text; dictionary-encoded text is decoded."""
    values = one_array(block, name)
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if not (_is_text(values.type) or pa.types.is_null(values.type)):
        raise ProfileError(f"{shard.name}: column {name!r} is {values.type}; MEDS says string")
    check_unicode(values, shard)
    return values.cast(pa.large_string() if name == "text_value" else pa.string())


def numbers(values: pa.Array, shard: Shard) -> pa.Array:
    """Give numbers as float64; NaN, which pandas writes for nothing, becomes null."""
    kind = values.type
    if not (
        pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind) or pa.types.is_decimal(kind)
    ):
        raise ProfileError(f"{shard.name}: column 'numeric_value' is {kind}; MEDS says float")
    cast = values.cast(pa.float64(), safe=False)
    return pc.if_else(pc.is_nan(cast), None, cast)


def whole_numbers(values: pa.Array, *, shard: Shard | None = None, name: str = "subject_id") -> pa.Array:
    """Give whole numbers as int64; 12.0 is 12, as pandas writes a column with gaps."""
    kind = values.type
    if pa.types.is_integer(kind) or pa.types.is_null(kind) or pa.types.is_floating(kind):
        if pa.types.is_floating(kind):
            values = pc.if_else(pc.is_nan(values), None, values)
        try:
            return values.cast(pa.int64())
        except pa.ArrowInvalid:
            pass
    where = f"{shard.name}: " if shard else ""
    raise ProfileError(f"{where}column {name!r} is {kind}; an identifier is a whole number of 64 bits")


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def check_unicode(values: pa.Array, shard: Shard) -> None:
    """Refuse text that is not UTF-8."""
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        raise ProfileError(f"{shard.name} holds text that is not UTF-8; export it again") from None
