"""Urine by the hour: what records of volumes say about the hours they cover."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["urine_rates"]

_LONGEST: Final = 24.0  # hours a record can cover; after a longer silence nobody knows
_APART: Final = 1e5  # hours between two stays on the common axis, more than any stay lasts


def urine_rates(urine: pd.DataFrame, *, hours: int) -> np.ndarray:
    """Give the mean rate over the hours up to each record, in mL/h: float64 [M], NaN where a part is not covered.

    A record's volume is spread evenly over the hours since the record before it in the stay, or since the stay began.

    Args:
        urine: row (the stay), hour (since it began) and value (mL), ordered by stay and hour.
        hours: length of the window.
    """
    if not len(urine):
        return np.zeros(0)
    together = urine.assign(value=urine["value"].fillna(0)).groupby(["row", "hour"], as_index=False)["value"].sum()
    row, hour = together["row"].to_numpy(np.float64), together["hour"].to_numpy(np.float64)
    inside = hour > 0
    row, hour, volume = row[inside], hour[inside], together["value"].to_numpy(np.float64)[inside]
    fresh = np.diff(row, prepend=-1) != 0
    since = np.where(fresh, 0.0, np.concatenate([[0.0], hour[:-1]]))
    covered = np.where(hour - since <= _LONGEST, hour - since, 0.0)
    at = row * _APART + hour
    starts = np.unique(row) * _APART
    ends, volumes, spans = _running(np.concatenate([starts, at]), volume, covered, first=len(starts))
    asked = urine["row"].to_numpy(np.float64) * _APART + urine["hour"].to_numpy(np.float64)
    total, known = (np.interp(asked, ends, sums) - np.interp(asked - hours, ends, sums) for sums in (volumes, spans))
    return np.where((known >= hours - 1e-3) & (urine["hour"].to_numpy() >= hours), total / hours, np.nan)


def _running(
    at: np.ndarray, volume: np.ndarray, covered: np.ndarray, *, first: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sum volumes and covered hours along the common axis, nothing at the beginning of a stay."""
    order = np.argsort(at, kind="stable")
    nothing = np.zeros(first)
    sums = [np.cumsum(np.concatenate([nothing, each])[order]) for each in (volume, covered)]
    return at[order], sums[0], sums[1]
