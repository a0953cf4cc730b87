"""The MEDS 0.4 profile: which columns an event has, how codes are spelled, and the check every table passes.

MEDS leaves open how codes, joins and times look; two hospitals that choose differently cannot train together. The
choices are made here once, and a table that differs is refused with the column's name before it reaches a disk.
Names and core types come from the `meds` package.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from meds import schema as meds

EVENT_SCHEMA: Final[pa.Schema] = pa.schema(
    [
        *meds.DataSchema.schema(),
        pa.field("hadm_id", pa.int64()),
        pa.field("stay_id", pa.int64()),
        pa.field("site_id", pa.string()),
    ]
)
REQUIRED_COLUMNS: Final = ("subject_id", "time", "code")
SPLITS: Final = (meds.train_split, meds.tuning_split, meds.held_out_split)

PREFIX_OF_SYSTEM: Final[Mapping[str, str]] = {
    "ICD10CM": "DIAG//ICD10CM//",
    "ICD9CM": "DIAG//ICD9CM//",
    "ICD10PCS": "PROC//ICD10PCS//",
    "ICD9PROC": "PROC//ICD9PROC//",
}
NOTE_PREFIX: Final = "NOTE//"
DISCHARGE_NOTE: Final = "NOTE//DISCHARGE"


class ProfileError(ValueError):
    """A directory or table breaks the profile; the message names file and column, never a cell."""


def check_table(table: pa.Table) -> pa.Table:
    """Cast a table to `EVENT_SCHEMA`, or say which column breaks the profile and how.

    Args:
        table: events with at least subject_id (integer), time (naive timestamp) and code (text); the other columns of
            `EVENT_SCHEMA` may be absent and become null. Dictionary-encoded columns are decoded.

    Returns:
        The same rows in the same order, with exactly the columns and types of `EVENT_SCHEMA`.

    Raises:
        ProfileError: a column is missing, unknown, doubled, of the wrong type, time-zone aware, null or empty where a
            value is required, not UTF-8, or not finite.
    """
    check_names(table.column_names)
    columns = [
        _check_column(table.column(field.name), field)
        if field.name in table.column_names
        else pa.nulls(len(table), field.type)
        for field in EVENT_SCHEMA
    ]
    return pa.Table.from_arrays(columns, schema=EVENT_SCHEMA)


def check_names(names: Sequence[str]) -> None:
    """Refuse missing, unknown and doubled columns."""
    for name in REQUIRED_COLUMNS:
        if name not in names:
            raise ProfileError(f"column {name!r} is missing; an event table has at least subject_id, time and code")
    for name in names:
        if name not in EVENT_SCHEMA.names:
            raise ProfileError(
                f"column {name!r} is not part of the profile; its columns are {', '.join(EVENT_SCHEMA.names)}"
            )
    if len(set(names)) < len(names):
        raise ProfileError("a column appears twice; every column of an event table has its own name")


def _check_column(values: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    """One column in the type of the profile, with its own rules kept."""
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    _check_type(values.type, field)
    if pa.types.is_integer(values.type) and field.type == pa.float32():
        values = values.cast(pa.float64(), safe=False)  # float32 holds seven digits whatever the source was
    try:
        cast = values.cast(field.type)
        cast.validate(full=True)
    except pa.ArrowInvalid:
        raise ProfileError(
            f"column {field.name!r} has values that {field.type} cannot hold (or that are not UTF-8)"
        ) from None
    if field.name in {"subject_id", "code"} and cast.null_count:
        raise ProfileError(f"column {field.name!r} is null in {cast.null_count} rows; every event has one")
    if field.name == "code" and pc.any(pc.equal(cast, "")).as_py():
        raise ProfileError("column 'code' is empty in some rows; every event has a code")
    if field.type == pa.float32() and not pc.all(pc.is_finite(cast)).as_py() and cast.null_count < len(cast):
        raise ProfileError(f"column {field.name!r} has NaN or infinite values; null means not recorded")
    return cast


def _check_type(found: pa.DataType, field: pa.Field) -> None:
    """Only what cannot lose meaning is cast: integers, naive timestamps, text, numbers."""
    wanted = field.type
    if pa.types.is_timestamp(found) and found.tz is not None:
        raise ProfileError(
            f"column {field.name!r} has the time zone {found.tz}; "
            "times are naive: convert to the hospital's local time first"
        )
    accepted = {
        pa.int64(): pa.types.is_integer,
        pa.float32(): lambda kind: pa.types.is_floating(kind) or pa.types.is_integer(kind),
        pa.string(): lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
        pa.large_string(): lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
        pa.timestamp("us"): pa.types.is_timestamp,
    }
    if not (pa.types.is_null(found) or accepted[wanted](found)):
        raise ProfileError(f"column {field.name!r} is {found}; the profile says {wanted}")
