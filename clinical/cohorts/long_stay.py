"""Long stay: more than 4 days in hospital, asked 24 hours after the admission of those who are still there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from clinical.cohorts.attrition import Attrition
from clinical.cohorts.hospital_stays import answer_once
from clinical.cohorts.records import DAY_US

if TYPE_CHECKING:
    from clinical.cohorts.attrition import Labelled
    from clinical.cohorts.records import Record

__all__ = ["label_long_stay"]

_LONG: Final = 4 * DAY_US


def label_long_stay(record: Record) -> Labelled:
    """Label one shard; see the module."""
    cohort = Attrition(record.admissions)
    cohort.exclude(
        "no discharge, or one before the admission", ~(cohort.kept["ended"] >= cohort.kept["began"]).to_numpy()
    )
    cohort.exclude("died within 24 hours", (cohort.kept["death"] <= cohort.kept["began"] + DAY_US).to_numpy())
    cohort.exclude("ended within 24 hours", (cohort.kept["ended"] <= cohort.kept["began"] + DAY_US).to_numpy())
    kept = cohort.kept
    long = (kept["ended"] - kept["began"]).to_numpy(np.float64) > _LONG
    return cohort.close(answer_once(kept, kept["began"].to_numpy(np.int64) + DAY_US, long))
