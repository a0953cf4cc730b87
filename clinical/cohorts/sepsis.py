"""Sepsis-3: a suspected infection and a SOFA that rises by 2 around it; asked every hour.

The rise is measured against the lowest SOFA so far in the window from 48 hours before to 24 hours after the suspicion,
within the stay; the onset is the first hour at which it reaches 2. `sepsis` asks within 6 hours, and up to 6 hours
after the onset, as YAIB does. `sepsis-vitals` asks whether sepsis sets in within 4 hours, never after the onset.

Source: Singer et al., JAMA 2016; 315:801; cohorts as van de Water et al., ICLR 2024, arXiv 2306.05109.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

import numpy as np

from clinical.cohorts.infection import first_suspicions
from clinical.cohorts.intensive_care import base_cohort, onset_answers
from clinical.cohorts.organ_failure import sofa_scores

if TYPE_CHECKING:
    from clinical.cohorts.attrition import Labelled
    from clinical.cohorts.records import Record

__all__ = ["label_sepsis", "label_sepsis_by_vitals", "sepsis_onsets"]

_BEFORE: Final = 48  # hours
_AFTER: Final = 24
_RISE: Final = 2


def label_sepsis(record: Record) -> Labelled:
    """Label one shard with sepsis within 6 hours."""
    return _label(record, ahead=6, after=6)


def label_sepsis_by_vitals(record: Record) -> Labelled:
    """Label one shard with sepsis within 4 hours, asked before it sets in."""
    return _label(record, ahead=4, after=0)


def _label(record: Record, *, ahead: int, after: int) -> Labelled:
    onset = _onsets(record)
    cohort = base_cohort(record)
    cohort.exclude(f"sepsis before hour {ahead}", onset[cohort.kept.index] < ahead)
    return cohort.close(onset_answers(cohort.kept, onset[cohort.kept.index], ahead=ahead, after=after))


@functools.lru_cache(maxsize=1)
def _onsets(record: Record) -> np.ndarray:
    """Find the onset of every stay; remembered for the second task that asks about the same shard."""
    return sepsis_onsets(sofa_scores(record), first_suspicions(record))


def sepsis_onsets(scores: np.ndarray, suspicions: np.ndarray) -> np.ndarray:
    """Find when sepsis sets in.

    Args:
        scores: int64 [stays, T], SOFA at each full hour.
        suspicions: float64 [stays], hours since the beginning, may be negative; NaN without a suspicion.

    Returns:
        float64 [stays], the hour, NaN where there is none.
    """
    hours = np.arange(scores.shape[1])
    inside = (hours >= suspicions[:, None] - _BEFORE) & (hours <= suspicions[:, None] + _AFTER)
    lowest = np.minimum.accumulate(np.where(inside, scores, np.iinfo(np.int64).max), axis=1)
    risen = inside & (scores - np.where(inside, lowest, 0) >= _RISE)
    return np.where(risen.any(axis=1), risen.argmax(axis=1), np.nan)
