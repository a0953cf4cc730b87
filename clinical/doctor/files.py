"""Whether the files at rest are what a study can read: parquet, the profile's columns, whole patients in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical.doctor.findings import Check, Count

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from clinical.doctor.findings import Counts
    from clinical.doctor.hospital import Hospital
    from clinical.doctor.shard import Shard


def _unreadable(hospital: Hospital, _: list[None]) -> Counts | None:
    return _some({"data/*.parquet": sum(not file.readable for file in hospital.files)})


UNREADABLE_FILE = Check(
    "file-unreadable", "wrong", "files",
    "A file of events is cut short, damaged or no parquet, and a study ends when it reads it.",
    "Write the hospital again from its source, or restore the file from a copy.",
    hospital=_unreadable,
)  # fmt: skip


def _no_events(hospital: Hospital, _: list[None]) -> Counts | None:
    return _some({"data/": int(not any(file.rows for file in hospital.files))})


NO_EVENTS = Check(
    "no-events", "wrong", "hospitals",
    "There is not one event that can be read.",
    "Write the hospital again with `wardround data ingest`.",
    hospital=_no_events,
)  # fmt: skip


def _missing_columns(hospital: Hospital, _: list[None]) -> Counts | None:
    return _by_name(file.missing for file in hospital.files)


MISSING_COLUMN = Check(
    "column-missing", "wrong", "files",
    "A file lacks a column that every event has, and nothing in it can be used.",
    "Write the hospital again; events have at least subject_id, time and code.",
    hospital=_missing_columns,
)  # fmt: skip


def _unknown_columns(hospital: Hospital, _: list[None]) -> Counts | None:
    return _some({"data/*.parquet": sum(file.unknown > 0 for file in hospital.files)})


UNKNOWN_COLUMN = Check(
    "column-unknown", "wrong", "files",
    "A file has a column that is not of the profile, or one twice, and a study refuses to read it.",
    "Drop the column, or bring the data in with `wardround data ingest meds`.",
    hospital=_unknown_columns,
)  # fmt: skip


def _other_types(hospital: Hospital, _: list[None]) -> Counts | None:
    return _by_name(file.other_type for file in hospital.files)


OTHER_TYPE = Check(
    "column-type", "wrong", "files",
    "A column has another type than the profile's, and a study refuses to read it; values that fit were examined.",
    "Write the column in the profile's type; times are naive microseconds of the hospital's local time.",
    hospital=_other_types,
)  # fmt: skip


def _empty_files(hospital: Hospital, _: list[None]) -> Counts | None:
    return _some({"data/*.parquet": sum(f.readable and not f.missing and not f.rows for f in hospital.files)})


EMPTY_FILE = Check(
    "file-empty", "doubtful", "files",
    "A file of events has no rows, which the writer never leaves: what belonged there may be lost.",
    "Compare the number of events with the receipt, and write the hospital again if some are gone.",
    hospital=_empty_files,
)  # fmt: skip


def _no_value(hospital: Hospital, _: list[None]) -> Counts | None:
    files = hospital.files
    return _some({"subject_id": sum(f.no_subject for f in files), "code": sum(f.no_code for f in files)})


NO_VALUE = Check(
    "required-value-missing", "wrong", "rows",
    "Events without a patient or without a code belong to nobody or say nothing; no other check looked at them.",
    "Find out which step of the export loses the value, and write the hospital again.",
    hospital=_no_value,
)  # fmt: skip


def _not_finite(hospital: Hospital, _: list[None]) -> Counts | None:
    return _some({"numeric_value": sum(file.not_finite for file in hospital.files)})


NOT_FINITE = Check(
    "number-not-finite", "wrong", "rows",
    "NaN or infinite numbers spread through every sum they enter.",
    "Write null where nothing was measured.",
    hospital=_not_finite,
)  # fmt: skip


def _out_of_order(hospital: Hospital, _: list[None]) -> Counts | None:
    return _some({"data/*.parquet": sum(file.out_of_order for file in hospital.files)})


OUT_OF_ORDER = Check(
    "rows-out-of-order", "doubtful", "rows",
    "Rows are not ordered by patient and then time, so readers that go through a file in order mix moments up.",
    "Write the hospital again; the writer sorts.",
    hospital=_out_of_order,
)  # fmt: skip


def people_of(shard: Shard) -> NDArray[np.int64]:
    """Gather a shard's patients."""
    return shard.people


def _split_patients(_: Hospital, people: list[NDArray[np.int64]]) -> Counts | None:
    if len(people) < 2:
        return {} if people else None
    shards = np.unique(np.concatenate(people), return_counts=True)[1]
    several = int((shards > 1).sum())
    return {"subject_id": Count(several, several)} if several else {}


SPLIT_PATIENT = Check(
    "patient-in-two-files", "wrong", "patients",
    "A patient's events lie in two files, and whoever reads file by file sees two halves of one person.",
    "Write the hospital again; the writer keeps a patient in one file.",
    shard=people_of, hospital=_split_patients,
)  # fmt: skip


def _some(counts: dict[str, int]) -> Counts:
    """Keep the counts that are not zero."""
    return {concern: Count(number) for concern, number in counts.items() if number}


def _by_name(columns_of_files: Iterable[tuple[str, ...]]) -> Counts:
    """Count files by column."""
    counts: dict[str, int] = {}
    for columns in columns_of_files:
        for column in columns:
            counts[column] = counts.get(column, 0) + 1
    return _some(counts)
