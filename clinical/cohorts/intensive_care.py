"""Intensive-care cohorts: who is in all of YAIB's, and how a stay is asked once or every hour.

Source: van de Water et al., ICLR 2024, arXiv 2306.05109, appendix: stays of adults of at least 6 hours with
measurements in at least 4 hours and no 12 hours without one.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from clinical.cohorts.attrition import Attrition
from clinical.cohorts.measurements import all_measured, place_in_stays
from clinical.cohorts.records import HOUR_US
from clinical.labels import LABEL_SCHEMA
from clinical.tasks.prediction import WEEK_HOURS

if TYPE_CHECKING:
    import pandas as pd

    from clinical.cohorts.records import Record

__all__ = ["ask_every_hour", "ask_once", "base_cohort", "label_moments", "last_hours", "onset_answers"]

_SHORTEST: Final = 6.0  # hours
_FEWEST: Final = 4  # hours with a measurement
_LONGEST_GAP: Final = 12  # hours
_ADULT: Final = 18.0


def base_cohort(record: Record) -> Attrition:
    """Narrow the stays to those that are in every cohort of YAIB."""
    stays = record.stays
    cohort = Attrition(stays)
    cohort.exclude("no end, or an end before the beginning", ~(cohort.kept["hours"] >= 0).to_numpy())
    cohort.exclude("shorter than 6 hours", (cohort.kept["hours"] < _SHORTEST).to_numpy())
    count, gap = _coverage(record)
    cohort.exclude("measurements in fewer than 4 hours", count[cohort.kept.index] < _FEWEST)
    cohort.exclude("more than 12 hours without a measurement", gap[cohort.kept.index] > _LONGEST_GAP)
    cohort.exclude("younger than 18", (cohort.kept["age"] < _ADULT).to_numpy())
    return cohort


@functools.lru_cache(maxsize=1)
def _coverage(record: Record) -> tuple[np.ndarray, np.ndarray]:
    """Count the hours of each stay with a measurement, and the longest run of hours without: int64 [stays] each.

    Remembered, for every task about stays asks it of the same shard.
    """
    import pandas as pd

    stays = record.stays
    last = np.floor(np.minimum(stays["hours"].fillna(0), WEEK_HOURS)).to_numpy(np.int64)
    found = place_in_stays(record, all_measured(record))
    hour = np.floor(found["hour"]).to_numpy(np.int64)
    inside = (hour >= 0) & (hour <= last[found["row"]])
    taken = pd.DataFrame({"row": found["row"], "hour": hour})[inside].drop_duplicates()
    count = taken.groupby("row").size().reindex(range(len(stays)), fill_value=0).to_numpy()
    rows = np.arange(len(stays))
    fences = [
        pd.DataFrame({"row": rows, "hour": np.full(len(stays), -1)}),
        pd.DataFrame({"row": rows, "hour": last + 1}),
    ]
    whole = pd.concat([taken, *fences]).sort_values(["row", "hour"])
    gaps = (whole.groupby("row")["hour"].diff() - 1).groupby(whole["row"]).max()
    return count, gaps.reindex(rows, fill_value=0).to_numpy()


def last_hours(stays: pd.DataFrame) -> np.ndarray:
    """Give the last full hour each stay can be asked at, a week at most: int64 [stays]."""
    return np.asarray(np.floor(np.minimum(stays["hours"].to_numpy(np.float64), WEEK_HOURS)), np.int64)


def ask_once(stays: pd.DataFrame, answers: np.ndarray, *, hour: int) -> pa.Table:
    """Make one label a stay, asked so many hours after its beginning.

    Args:
        stays: rows of `Record.stays`.
        answers: bool or float [stays].
        hour: the moment.
    """
    return label_moments(stays, np.arange(len(stays)), np.full(len(stays), hour), answers)


def ask_every_hour(stays: pd.DataFrame, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lay out every full hour from 0 to each stay's last: place among the stays and hour, int64 [moments] each."""
    place = np.repeat(np.arange(len(stays)), last + 1)
    first = np.cumsum(last + 1) - (last + 1)
    return place, np.arange(len(place)) - first[place]


def onset_answers(stays: pd.DataFrame, onset: np.ndarray, *, ahead: int, after: int) -> pa.Table:
    """Ask every hour whether something sets in within so many hours.

    Args:
        stays: rows of `Record.stays`.
        onset: float [stays], exact hours since each beginning; NaN where it never sets in.
        ahead: a yes from this many hours before the onset.
        after: the last hour asked is this long after the onset, with a yes; 0 asks only before it.
    """
    whole = np.where(np.isnan(onset), np.inf, np.floor(onset + after) if after else np.ceil(onset) - 1)
    last = np.minimum(last_hours(stays), whole).astype(np.int64)
    place, hour = ask_every_hour(stays, np.maximum(last, -1))
    return label_moments(stays, place, hour, hour >= onset[place] - ahead)


def label_moments(stays: pd.DataFrame, place: np.ndarray, hour: np.ndarray, answers: np.ndarray) -> pa.Table:
    """Make labels of moments.

    Args:
        stays: rows of `Record.stays`.
        place: int64 [M], which of the stays each moment is of.
        hour: int64 [M], full hours since that stay began.
        answers: bool or float [M].
    """
    time = stays["began"].to_numpy(np.int64)[place] + hour * HOUR_US
    binary = answers.dtype == np.bool_
    columns = {
        "subject_id": stays["subject_id"].to_numpy(np.int64)[place],
        "prediction_time": pa.array(time, pa.int64()).cast(pa.timestamp("us")),
        "boolean_value": pa.array(answers) if binary else pa.nulls(len(place), pa.bool_()),
        "float_value": pa.nulls(len(place), pa.float32()) if binary else pa.array(answers.astype(np.float32)),
        "stay_id": stays["stay_id"].to_numpy(np.int64)[place],
    }
    return pa.table(columns, schema=LABEL_SCHEMA)
