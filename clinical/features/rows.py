"""One row for each moment something is asked: what the hours up to it say of every variable, for models without memory.

Source: the aggregates (last, mean, lowest, highest, how often measured) are those of YAIB's generated features (van de
Water et al., ICLR 2024, arXiv 2306.05109), on the public scale of `clinical.features.concepts`.
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


@dataclass(frozen=True, slots=True)
class Rows:
    """What is asked of every stay, one row a question, in the order of stays and hours.

    Attributes:
        stay: int64 [M], the place of each row's stay.
        features: float32 [M, 5 V + 5]: for every variable the last, mean, lowest and highest value so far and how
            often it was measured, then age, sex, height, weight and the hour. 0 stands for unknown.
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
    """Last, mean, lowest, highest and count up to each hour, float32 [N, T, V] each."""
    known = ~np.isnan(scaled)
    count = np.cumsum(known, axis=1, dtype=np.float32)
    total = np.cumsum(np.nan_to_num(scaled), axis=1, dtype=np.float32)
    mean = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    lowest = np.minimum.accumulate(np.where(known, scaled, np.inf), axis=1)
    highest = np.maximum.accumulate(np.where(known, scaled, -np.inf), axis=1)
    nothing = count == 0
    lowest[nothing] = highest[nothing] = 0.0
    last = np.nan_to_num(carry_forward(scaled))
    return [each.astype(np.float32) for each in (last, mean, lowest, highest, count / _COUNT_SPREAD)]
