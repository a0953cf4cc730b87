"""Acute kidney injury: KDIGO stage 1 or higher by creatinine or urine, asked every hour, within 6 hours.

A creatinine is compared with the lowest of the patient's last 48 hours (a rise of 0.3 mg/dL) and of the last 7 days
(1.5 times), itself included. Urine counts by weight and hour (below 0.5 mL/kg/h over 6 hours), at a record of urine
whose window is covered: a record covers the hours since the one before, a day at most. Stays whose injury began
before their sixth hour, or in the same admission before, and those with a baseline above 4 mg/dL are left out.

Source: KDIGO Clinical Practice Guideline for Acute Kidney Injury, 2012, section 2.1; cohort as YAIB's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from clinical.cohorts.intensive_care import base_cohort, onset_answers
from clinical.cohorts.measurements import find_sign, measured, place_in_stays, weights
from clinical.cohorts.records import DAY_US, HOUR_US
from clinical.cohorts.urine import urine_rates

if TYPE_CHECKING:
    import pandas as pd

    from clinical.cohorts.attrition import Labelled
    from clinical.cohorts.records import Record

__all__ = ["creatinine_injuries", "label_kidney_injury"]

_AHEAD: Final = 6  # hours
_RISE: Final = 0.3  # mg/dL in 48 hours
_RATIO: Final = 1.5  # times the lowest of 7 days
_SCANT: Final = 0.5  # mL/kg/h over 6 hours
_HIGHEST_BASELINE: Final = 4.0  # mg/dL
_SLACK: Final = 1e-6  # numbers at rest are float32: 1.3 - 1.0 counts as 0.3


def label_kidney_injury(record: Record) -> Labelled:
    """Label one shard; see the module."""
    creatinine = measured(record, "crea")
    onset = _first_injury(record, creatinine)
    cohort = base_cohort(record)
    cohort.exclude("injured before the sixth hour", onset[cohort.kept.index] < _AHEAD)
    baseline = _baselines(record, creatinine)
    cohort.exclude("baseline creatinine above 4 mg/dL", baseline[cohort.kept.index] > _HIGHEST_BASELINE)
    unknown = np.isnan(baseline[cohort.kept.index])
    cohort.note("without a creatinine", unknown)
    return cohort.close(onset_answers(cohort.kept, onset[cohort.kept.index], ahead=_AHEAD, after=_AHEAD))


def creatinine_injuries(creatinine: pd.DataFrame) -> np.ndarray:
    """Tell which creatinines show an injury: bool [M].

    Args:
        creatinine: subject_id, time (microseconds), value (mg/dL), ordered by patient and time.
    """
    import pandas as pd

    value = creatinine["value"].to_numpy(np.float64)
    timed = pd.DataFrame(
        {"subject_id": creatinine["subject_id"].to_numpy(), "value": value},
        index=pd.DatetimeIndex(creatinine["time"].to_numpy().astype("datetime64[us]")),
    )
    windows = timed.groupby("subject_id")["value"]
    if not len(timed):
        return np.zeros(0, np.bool_)
    lowest_48h, lowest_7d = (windows.rolling(span).min().to_numpy() for span in ("48h", "7D"))
    return (value >= lowest_48h + _RISE - _SLACK) | (value >= _RATIO * lowest_7d - _SLACK)


def _first_injury(record: Record, creatinine: pd.DataFrame) -> np.ndarray:
    """Give the hours from each stay's beginning to the first injury of its admission; negative before it, or NaN."""
    urine = place_in_stays(record, find_sign(record, "urine"))
    rates = urine_rates(urine, hours=6) / weights(record)[urine["row"]]
    scant = urine[(rates < _SCANT) & (urine["hour"] <= record.stays["hours"].to_numpy()[urine["row"]])]
    by_urine = scant.groupby("row")["hour"].min().reindex(range(len(record.stays))).to_numpy(np.float64)
    injured = creatinine[creatinine_injuries(creatinine)]
    by_blood = _first_in_admission(record.stays, injured)
    return np.fmin(by_urine, by_blood)


def _first_in_admission(stays: pd.DataFrame, injured: pd.DataFrame) -> np.ndarray:
    """Give the hours to the first injury since the admission (or 7 days before the stay) and before the stay ends."""
    import pandas as pd

    began = stays["began"].to_numpy(np.float64)
    since = stays["began_in_hospital"].fillna(pd.Series(began - 7 * DAY_US, index=stays.index))
    spans = pd.DataFrame({"subject_id": stays["subject_id"], "row": stays.index, "at": since.astype(np.int64)})
    right = injured[["subject_id", "time"]].rename(columns={"time": "at"}).assign(found=injured["time"].to_numpy())
    if not len(right) or not len(spans):
        return np.full(len(stays), np.nan)
    joined = pd.merge_asof(
        spans.sort_values("at"), right.sort_values("at"), on="at", by="subject_id", direction="forward"
    ).sort_values("row")
    hours = (joined["found"].to_numpy(np.float64) - began) / HOUR_US
    return np.where(hours <= stays["hours"].to_numpy(), hours, np.nan)


def _baselines(record: Record, creatinine: pd.DataFrame) -> np.ndarray:
    """Give the lowest creatinine of each stay's admission up to the first one in intensive care: mg/dL, or NaN."""
    placed = place_in_stays(record, creatinine)
    first = placed[placed["hour"] >= 0].groupby("row")["value"].first().reindex(range(len(record.stays)))
    stays = record.stays
    pairs = stays[["subject_id", "began", "began_in_hospital"]].reset_index(names="row")
    pairs = pairs.merge(creatinine[["subject_id", "time", "value"]], on="subject_id")
    since = pairs["began_in_hospital"].fillna(pairs["began"] - 7 * DAY_US)
    before = pairs[(pairs["time"] < pairs["began"]) & (pairs["time"] >= since)].groupby("row")["value"].min()
    return np.fmin(first.to_numpy(np.float64), before.reindex(range(len(stays))).to_numpy(np.float64))
