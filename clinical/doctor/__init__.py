"""The data doctor: says what is wrong with hospitals at rest before a study is, in counts and without a cell.

Every check is one function with its two sentences beside it, and one line of the table below. `examination` asks all of
them in one pass over each hospital, a shard at a time; `view` shows what they found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from clinical.doctor import (
    books,
    cells,
    documents,
    duplicates,
    files,
    icd,
    joins,
    leakage,
    outcomes,
    times,
    values,
)  # fmt: skip

if TYPE_CHECKING:
    from clinical.doctor.findings import Check

__all__ = ["CHECKS"]

CHECKS: Final[dict[str, tuple[Check, ...]]] = {
    "files": (
        files.UNREADABLE_FILE,
        files.NO_EVENTS,
        files.MISSING_COLUMN,
        files.UNKNOWN_COLUMN,
        files.OTHER_TYPE,
        files.EMPTY_FILE,
        files.NO_VALUE,
        files.NOT_FINITE,
        files.OUT_OF_ORDER,
        files.SPLIT_PATIENT,
    ),
    "joins": (
        joins.SHARED_ADMISSION,
        joins.SHARED_STAY,
        joins.STAY_IN_TWO_ADMISSIONS,
        joins.STAY_WITHOUT_BEGIN,
        joins.STAY_WITHOUT_END,
        joins.STAY_ENDS_FIRST,
        joins.ADMISSION_WITHOUT_BEGIN,
        joins.ADMISSION_WITHOUT_DISCHARGE,
        joins.DISCHARGE_FIRST,
        joins.ADMITTED_TWICE,
        joins.UNNUMBERED,
    ),
    "counts": (
        books.UNREADABLE_MANIFEST,
        books.MANIFEST_PATIENTS,
        books.MANIFEST_DOCUMENTS,
        books.UNREADABLE_RECEIPT,
        books.RECEIPT_PATIENTS,
        books.RECEIPT_EVENTS,
        books.UNBALANCED,
        books.NO_SPLITS,
        books.UNKNOWN_SPLIT,
        books.WITHOUT_SPLIT,
        books.SPLIT_WITHOUT_EVENTS,
        books.IN_TWO_SPLITS,
        books.UNLISTED,
    ),
    "codes": (
        icd.IMPOSSIBLE,
        icd.UNDOTTED,
        icd.LOST_ZERO,
        icd.AMBIGUOUS_ZERO,
        icd.MISSPELT,
        icd.UNRELEASED,
        icd.MIXED_ADMISSION,
        icd.MIXED_ERA,
        icd.UNKNOWN_PREFIX,
        icd.FOREIGN,
    ),
    "values": (
        values.IMPLAUSIBLE,
        values.MOSTLY_IMPLAUSIBLE,
        values.MISLABELLED,
        values.UNCONVERTIBLE,
        values.TWO_UNITS,
        values.WITHOUT_UNIT,
        values.NOTHING,
        values.ONLY_TEXT,
    ),
    "times": (
        times.BEFORE_BIRTH,
        times.AFTER_DEATH,
        times.AFTER_DISCHARGE,
        times.BEFORE_ADMISSION,
        times.OUTSIDE_STAY,
        times.IN_FUTURE,
        times.DATES_SHIFTED,
        times.WITHOUT_TIME,
        times.PLACEHOLDER,
        times.TOO_OLD,
        times.BORN_TWICE,
        times.ONLY_DAYS,
    ),
    "leakage": (
        leakage.DIAGNOSIS_LEAKS,
        leakage.ENTERED_IN_STAY,
        leakage.DRG_LEAKS,
        leakage.NOTE_LEAKS,
        leakage.DESTINATION_LEAKS,
        leakage.DEATH_FIRST,
        leakage.ADMITTED_DEAD,
        leakage.TELLTALE,
    ),
    "labels": (
        outcomes.UNREADABLE_LABELS,
        outcomes.UNKNOWN_TASK,
        outcomes.OTHER_KIND,
        outcomes.OUTSIDE_LIMITS,
        outcomes.OF_NOBODY,
        outcomes.OF_NO_STAY,
        outcomes.LABEL_OUTSIDE_STAY,
        outcomes.REPEATED_LABEL,
        outcomes.CONSTANT,
        outcomes.ONE_SIDED,
        outcomes.BELOW_CELL,
    ),
    "documents": (
        documents.BLANK_NOTE,
        documents.BADLY_DECODED,
        documents.SAME_TEXT,
        documents.LOOSE_NOTE,
        documents.UNCODED,
        documents.UNWRITTEN,
        documents.LOOSE_CODE,
    ),
    "duplicates": (
        duplicates.REPEATED_ROWS,
        duplicates.ROWS_DOUBLED,
        duplicates.TWICE_HERE,
        duplicates.IN_TWO_HOSPITALS,
        duplicates.UNDER_OTHER_NUMBER,
        duplicates.SHARED_NUMBER,
    ),
    "size": (
        cells.POLICY,
        cells.BELOW_POLICY,
        cells.BELOW_BATCH,
        cells.NOBODY_TO_TRAIN,
        cells.NOBODY_TO_TEST,
        cells.SMALL_GROUP,
    ),
}
