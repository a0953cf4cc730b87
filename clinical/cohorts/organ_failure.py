"""SOFA by the hour: six organs, each scored 0 to 4 by the worst of its last 24 hours, summed.

An organ nobody looked at scores 0, as in the original.

Source: Vincent et al., Intensive Care Med 1996; 22:707; the 24-hour window as ricu takes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from clinical.cohorts.measurements import find_sign, measured, place_in_stays
from clinical.cohorts.urine import urine_rates
from clinical.tasks.prediction import WEEK_HOURS

if TYPE_CHECKING:
    import pandas as pd

    from clinical.cohorts.records import Record

__all__ = ["sofa_scores"]

_HOURS: Final = WEEK_HOURS + 1
_WINDOW: Final = 24
_DRUGS: Final = {"norepinephrine": (3, (0.1,)), "dopamine": (2, (5.0, 15.0)), "dobutamine": (2, ())}
# sign: the lowest grade, and the rates in µg/kg/min above which it is one higher; epinephrine counts as norepinephrine
_SLACK: Final = 1e-6  # numbers at rest are float32
_HELD: Final = 8  # hours a fraction of oxygen or a ventilator setting stands until the next


def sofa_scores(record: Record) -> np.ndarray:
    """Score every stay at every hour of its first week by what came up to that hour: int64 [stays, 169]."""
    organs = (
        _lungs(record),
        _grade(_hourly(record, _concept(record, "plt"), worst="min"), (150, 100, 50, 20), falling=True),
        _grade(_hourly(record, _concept(record, "bili"), worst="max"), (1.2, 2.0, 6.0, 12.0)),
        _circulation(record),
        _brain(record),
        _kidneys(record),
    )
    return np.asarray(sum(_worst_of_day(organ) for organ in organs), np.int64)


def _concept(record: Record, name: str) -> pd.DataFrame:
    return place_in_stays(record, measured(record, name))


def _hourly(record: Record, placed: pd.DataFrame, *, worst: str) -> np.ndarray:
    """Lay values on the grid, the worst of each hour; row r holds what came after hour r - 1: float64 [stays, 169]."""
    grid = np.full((len(record.stays), _HOURS), np.nan)
    hour = np.ceil(placed["hour"]).to_numpy(np.int64)
    inside = (
        (hour >= 0) & (hour < _HOURS) & (placed["hour"] <= record.stays["hours"].to_numpy()[placed["row"]]).to_numpy()
    )
    kept = placed.assign(hour=hour)[inside & placed["value"].notna().to_numpy()]
    found = kept.groupby(["row", "hour"])["value"].agg(worst)
    rows, hours = found.index.get_level_values("row"), found.index.get_level_values("hour")
    grid[rows.to_numpy(), hours.to_numpy()] = found.to_numpy(np.float64)
    return grid


def _grade(values: np.ndarray, limits: tuple[float, ...], *, falling: bool = False) -> np.ndarray:
    """Count the limits a value reaches (or, falling, is below): 0 to 4; 0 where there is none."""
    with np.errstate(invalid="ignore"):
        reached = [values < limit if falling else values >= limit - _SLACK for limit in limits]
    return np.asarray(sum(each.astype(np.int64) for each in reached), np.int64)


def _worst_of_day(scores: np.ndarray) -> np.ndarray:
    """Take the highest score of the last 24 hours at every hour."""
    padded = np.pad(scores, ((0, 0), (_WINDOW - 1, 0)))
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, _WINDOW, axis=1).max(axis=2))


def _held(values: np.ndarray, hours: int) -> np.ndarray:
    """Carry each value forward over at most so many hours."""
    known = ~np.isnan(values)
    last = np.maximum.accumulate(np.where(known, np.arange(values.shape[1]), -1), axis=1)
    fresh = (last >= 0) & (np.arange(values.shape[1]) - last <= hours)
    return np.where(fresh, np.take_along_axis(values, np.maximum(last, 0), axis=1), np.nan)


def _lungs(record: Record) -> np.ndarray:
    """Score oxygen in blood by the fraction breathed; the two worst grades need a ventilator."""
    pressure = _hourly(record, _concept(record, "po2"), worst="min")
    fraction = _held(_hourly(record, _concept(record, "fio2"), worst="max"), _HELD)
    devices = place_in_stays(record, find_sign(record, "ventilation").assign(value=1.0))
    ventilated = ~np.isnan(_held(_hourly(record, devices, worst="max"), _HELD))
    ratio = pressure / (fraction / 100)
    grade = _grade(ratio, (400, 300, 200, 100), falling=True)
    return np.where(ventilated, grade, np.minimum(grade, 2))


def _circulation(record: Record) -> np.ndarray:
    """Score pressure, or the vasopressor that holds it; a drug without a rate in µg/kg/min scores its lowest grade."""
    pressure = _grade(_hourly(record, _concept(record, "map"), worst="min"), (70,), falling=True)
    scores = [pressure]
    for sign, (least, steps) in _DRUGS.items():
        found = place_in_stays(record, find_sign(record, sign))
        code = found["code"].astype(str).str.lower()
        rated = code.str.startswith("infusion//") & code.str.contains(r"mcg/?kg/?min", regex=True)
        rate = found["value"].where(rated)
        grade = np.full(len(found), float(least))
        for step in steps:
            grade += (rate > step + _SLACK).to_numpy()
        running = (found["value"].isna() | (found["value"] > 0)).to_numpy()
        graded = found.assign(value=np.where(running, grade, 0.0))
        scores.append(np.nan_to_num(_hourly(record, graded, worst="max")).astype(np.int64))
    return np.asarray(np.maximum.reduce(scores))


def _brain(record: Record) -> np.ndarray:
    """Score the Glasgow coma scale, as charted or as the sum of its three parts."""
    total = _hourly(record, place_in_stays(record, find_sign(record, "coma-scale")), worst="min")
    parts = [
        _hourly(record, place_in_stays(record, find_sign(record, sign)), worst="min")
        for sign in ("coma-eyes", "coma-words", "coma-limbs")
    ]
    together = np.fmin(total, parts[0] + parts[1] + parts[2])
    return _grade(np.where(together >= 3, together, np.nan), (15, 13, 10, 6), falling=True)


def _kidneys(record: Record) -> np.ndarray:
    """Score creatinine, or the urine of a day."""
    blood = _grade(_hourly(record, _concept(record, "crea"), worst="max"), (1.2, 2.0, 3.5, 5.0))
    urine = place_in_stays(record, find_sign(record, "urine"))
    daily = _hourly(record, urine.assign(value=urine_rates(urine, hours=24) * 24), worst="min")
    scant = np.where(daily < 200, 4, np.where(daily < 500, 3, 0))
    return np.maximum(blood, scant)
