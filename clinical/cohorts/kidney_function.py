"""Kidney function: the median creatinine of the second day, asked after the first, of stays of at least 48 hours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from clinical.cohorts.intensive_care import ask_once, base_cohort
from clinical.cohorts.measurements import measured, place_in_stays

if TYPE_CHECKING:
    from clinical.cohorts.attrition import Labelled
    from clinical.cohorts.records import Record

__all__ = ["label_kidney_function"]

_ASKED: Final = 24  # hours
_UNTIL: Final = 48  # hours


def label_kidney_function(record: Record) -> Labelled:
    """Label one shard; see the module."""
    found = place_in_stays(record, measured(record, "crea"))
    second_day = found[(found["hour"] > _ASKED) & (found["hour"] <= _UNTIL)]
    median = second_day.groupby("row")["value"].median().reindex(range(len(record.stays)))
    cohort = base_cohort(record)
    cohort.exclude("shorter than 48 hours", (cohort.kept["hours"] < _UNTIL).to_numpy())
    cohort.exclude("no creatinine on the second day", median[cohort.kept.index].isna().to_numpy())
    return cohort.close(ask_once(cohort.kept, median[cohort.kept.index].to_numpy(np.float64), hour=_ASKED))
