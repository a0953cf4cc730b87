"""Death in hospital, asked after 24 hours of intensive care of stays of at least 30 hours.

The six hours between the question and the earliest death that counts keep out those who were dying when it was asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from clinical.cohorts.intensive_care import ask_once, base_cohort
from clinical.cohorts.records import HOUR_US

if TYPE_CHECKING:
    from clinical.cohorts.attrition import Labelled
    from clinical.cohorts.records import Record

__all__ = ["label_mortality"]

_ASKED: Final = 24  # hours
_ALIVE: Final = 30  # hours


def label_mortality(record: Record) -> Labelled:
    """Label one shard; see the module."""
    cohort = base_cohort(record)
    death = (cohort.kept["death"] - cohort.kept["began"]) / HOUR_US
    cohort.exclude("died within 30 hours", (death < _ALIVE).to_numpy())
    cohort.exclude("shorter than 30 hours", (cohort.kept["hours"] < _ALIVE).to_numpy())
    cohort.exclude("how the hospital stay ended is not known", cohort.kept["died"].isna().to_numpy())
    return cohort.close(ask_once(cohort.kept, cohort.kept["died"].to_numpy(np.float64) > 0, hour=_ASKED))
