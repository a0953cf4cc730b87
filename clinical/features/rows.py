"""One row for each moment something is asked: what the hours up to it say of every variable, for models without memory.

A model without memory cannot see a trend in a mean nor how old a last value is, and both decide questions that are
asked every hour: creatinine is measured once a day, so the kidney's next value is near when the last is old. Hence the
change, the recent means and the age of the last value beside the plain aggregates.

Source: last, mean, lowest, highest and how often measured are YAIB's generated features (van de Water et al., ICLR
2024, arXiv 2306.05109); the decaying age of the last value is GRU-D's (Che et al., Scientific Reports 2018, eq. 3) with
fixed rates. All on the public scale of `clinical.features.concepts`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from clinical.features.hourly import carry_forward, iterate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical.features.hourly import Stays

__all__ = ["Rows", "summarise"]

_BLOCK: Final = 256  # stays at a time
_COUNT_SPREAD: Final = 24.0  # measured every hour of a day is one
_WINDOWS: Final = (6, 24)  # hours: a shift of nursing observations, and a day of laboratory tests
_FADES: Final = (4.0, 24.0)  # hours in which the weight of a last value's age falls to 1/e


@dataclass(frozen=True, slots=True)
class Rows:
    """What is asked of every stay, one row a question, in the order of stays and hours.

    Attributes:
        stay: int64 [M], the place of each row's stay.
        features: float32 [M, 11 V + 5]: for every variable the last, mean, lowest and highest value so far and how
            often it was measured; how fresh the last value is, fading within 4 hours and within 24; its change over the
            last 6 hours and over 24, and the mean of each; then age, sex, height, weight and the hour. 0 stands for
            unknown and for no change.
        labels: float32 [M].
    """

    stay: NDArray[np.int64]
    features: NDArray[np.float32]
    labels: NDArray[np.float32]


def summarise(stays: Stays) -> Rows:
    """Sum up the hours of each stay up to every hour that is asked about."""
    own, features, labels = [], [], []
    for part in iterate(stays, rows=_BLOCK):
        asked = ~np.isnan(stays.labels[part])
        so_far = _so_far(stays.scaled[part])
        standing = stays.standing()[part]
        features.append(np.concatenate([*(each[asked] for each in so_far), standing[asked]], axis=1))
        labels.append(stays.labels[part][asked])
        own.append(np.nonzero(asked)[0] + part.start)
    return Rows(np.concatenate(own), np.concatenate(features), np.concatenate(labels))


def _so_far(scaled: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """What is known of each variable up to each hour: eleven float32 [N, T, V]."""
    known = ~np.isnan(scaled)
    count = np.cumsum(known, axis=1, dtype=np.float32)
    total = np.cumsum(np.nan_to_num(scaled), axis=1, dtype=np.float32)
    lowest = np.minimum.accumulate(np.where(known, scaled, np.inf), axis=1)
    highest = np.maximum.accumulate(np.where(known, scaled, -np.inf), axis=1)
    nothing = count == 0
    lowest[nothing] = highest[nothing] = 0.0
    last = np.nan_to_num(carry_forward(scaled))
    age = _age(known)
    found = [last, _mean(total, count), lowest, highest, count / _COUNT_SPREAD]
    found += [np.exp(-age / fade) for fade in _FADES]
    found += [_change(last, known, hours=hours) for hours in _WINDOWS]
    found += [_mean(_within(total, hours=hours), _within(count, hours=hours)) for hours in _WINDOWS]
    return [each.astype(np.float32) for each in found]


def _mean(total: NDArray[np.float32], count: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.divide(total, count, out=np.zeros_like(total), where=count > 0)


def _within(running: NDArray[np.float32], *, hours: int) -> NDArray[np.float32]:
    """Turn a sum from the beginning into one over the last hours, [N, T, V]."""
    recent = running.copy()
    recent[:, hours:] -= running[:, :-hours]
    return recent


def _age(known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Hours since each variable was last measured, infinite before the first time: float32 [N, T, V]."""
    hour = np.arange(known.shape[1], dtype=np.float32)[None, :, None]
    age: NDArray[np.float32] = hour - np.maximum.accumulate(np.where(known, hour, -np.inf), axis=1)
    return age


def _change(last: NDArray[np.float32], known: NDArray[np.bool_], *, hours: int) -> NDArray[np.float32]:
    """How far the last value stands from the one of some hours before, 0 where there was none: [N, T, V]."""
    change = np.zeros_like(last)
    had = np.logical_or.accumulate(known, axis=1)[:, :-hours]
    change[:, hours:] = np.where(had, last[:, hours:] - last[:, :-hours], 0.0)
    return change
