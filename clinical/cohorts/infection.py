"""Suspected infection: antibiotics that go on, and a culture near their beginning.

A course is continuous when, over the 72 hours from a dose, no 24 hours pass without another (a death ends the watch).
With cultures on record, the culture must follow within 24 hours of such a dose or precede it by at most 72; the
suspicion dates from the earlier of the two. A hospital that records no cultures has the continuous course alone.

Source: Seymour et al., JAMA 2016; 315:762; continuity as YAIB has it (van de Water et al., ICLR 2024).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from clinical.cohorts.measurements import find_sign
from clinical.cohorts.records import HOUR_US
from clinical.cohorts.signs import sign_codes

if TYPE_CHECKING:
    import pandas as pd

    from clinical.cohorts.records import Record

__all__ = ["continuous_doses", "first_suspicions"]

_COURSE: Final = 72 * HOUR_US
_GAP: Final = 24 * HOUR_US
_CULTURE_AFTER: Final = 24 * HOUR_US
_CULTURE_BEFORE: Final = 72 * HOUR_US


def first_suspicions(record: Record) -> np.ndarray:
    """Give the first suspicion of each stay's admission (or since 3 days before it): hours since it began, or NaN.

    Orders stand for doses only in patients for whom no dose is on record.
    """
    given = find_sign(record, "antibiotics")
    ordered = find_sign(record, "antibiotics-ordered")
    ordered = ordered[~ordered["subject_id"].isin(given["subject_id"])]
    import pandas as pd

    doses = pd.concat([given, ordered])[["subject_id", "time"]].drop_duplicates()
    doses = doses.sort_values(["subject_id", "time"], kind="stable", ignore_index=True)
    going_on = doses[continuous_doses(doses, record.deaths)]
    cultures = find_sign(record, "cultures")[["subject_id", "time"]]
    return _first_in_stay(record, _suspected(going_on, cultures, alone=not sign_codes("cultures", record.known)))


def continuous_doses(doses: pd.DataFrame, deaths: pd.Series) -> np.ndarray:
    """Tell which doses begin 72 hours in which no 24 pass without a dose: bool [M].

    Args:
        doses: subject_id and time (microseconds), ordered by both, none twice.
        deaths: time of death by subject_id.
    """
    if not len(doses):
        return np.zeros(0, np.bool_)
    subject, time = doses["subject_id"].to_numpy(), doses["time"].to_numpy(np.int64)
    # the last dose of the unbroken run each dose is in
    breaks = np.append((np.diff(time) > _GAP) | (np.diff(subject) != 0), True)
    last_of_run = time[np.flatnonzero(breaks)[np.searchsorted(np.flatnonzero(breaks), np.arange(len(time)))]]
    death = doses["subject_id"].map(deaths).to_numpy(np.float64)
    watched = np.fmin(time + _COURSE, death)
    return np.asarray((last_of_run + _GAP >= watched) & ~(death < time), np.bool_)


def _suspected(doses: pd.DataFrame, cultures: pd.DataFrame, *, alone: bool) -> pd.DataFrame:
    """Give the moments of suspicion: subject_id and time."""
    import pandas as pd

    if alone or not len(doses):
        return doses
    left = doses.rename(columns={"time": "at"}).sort_values("at", kind="stable")
    right = cultures.rename(columns={"time": "at"}).assign(culture=cultures["time"].to_numpy())
    right = right.sort_values("at", kind="stable")
    after = pd.merge_asof(left, right, on="at", by="subject_id", direction="forward", tolerance=_CULTURE_AFTER)
    before = pd.merge_asof(left, right, on="at", by="subject_id", direction="backward", tolerance=_CULTURE_BEFORE)
    near = before["culture"].notna() | after["culture"].notna()
    time = before["culture"].fillna(before["at"])
    found = pd.DataFrame({"subject_id": before["subject_id"], "time": time})[near]
    return found.astype({"time": np.int64}).sort_values(["subject_id", "time"], kind="stable")


def _first_in_stay(record: Record, moments: pd.DataFrame) -> np.ndarray:
    """Give the hours from each stay's beginning to its first moment, from 3 days before; the stay's end is the last."""
    import pandas as pd

    stays = record.stays
    spans = stays[["subject_id"]].assign(at=stays["began"] - _CULTURE_BEFORE, row=stays.index).sort_values("at")
    right = moments.rename(columns={"time": "at"}).assign(found=moments["time"].to_numpy()).sort_values("at")
    if not len(spans) or not len(right):
        return np.full(len(stays), np.nan)
    joined = pd.merge_asof(spans, right, on="at", by="subject_id", direction="forward").sort_values("row")
    hours = (joined["found"].to_numpy(np.float64) - stays["began"].to_numpy()) / HOUR_US
    return np.where(hours <= stays["hours"].to_numpy(), hours, np.nan)
