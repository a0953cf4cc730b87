"""The hours of intensive care that remain, asked every full hour of the first week; a week is the longest answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical.cohorts.intensive_care import ask_every_hour, base_cohort, label_moments, last_hours
from clinical.tasks.prediction import WEEK_HOURS

if TYPE_CHECKING:
    from clinical.cohorts.attrition import Labelled
    from clinical.cohorts.records import Record

__all__ = ["label_remaining_stay"]


def label_remaining_stay(record: Record) -> Labelled:
    """Label one shard; see the module."""
    cohort = base_cohort(record)
    place, hour = ask_every_hour(cohort.kept, last_hours(cohort.kept))
    remaining = np.minimum(cohort.kept["hours"].to_numpy(np.float64)[place] - hour, WEEK_HOURS)
    return cohort.close(label_moments(cohort.kept, place, hour, remaining))
