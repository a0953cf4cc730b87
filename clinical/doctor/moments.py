"""When each stay of a yes-or-no task is asked about, once: the moment by which a telling code would be known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clinical.doctor.shard import NEVER

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Moments", "integers", "read_moments"]


@dataclass(frozen=True, slots=True)
class Moments:
    """The stays of a yes-or-no task, each at one moment: its first yes, otherwise its last no. L of them.

    Attributes:
        subject: int64 [L].
        stay: int64 [L].
        moment: int64 [L] microseconds.
        positive: bool [L].
    """

    subject: NDArray[np.int64]
    stay: NDArray[np.int64]
    moment: NDArray[np.int64]
    positive: NDArray[np.bool_]


def read_moments(labels: pa.Table) -> Moments:
    """Give the moments of a task's labels; those that are no yes or no are left out."""
    labels = labels.filter(pc.is_valid(labels["boolean_value"]))
    subject, stay, time = (integers(labels, name) for name in ("subject_id", "stay_id", "prediction_time"))
    answer = np.asarray(labels["boolean_value"].to_numpy(), bool)
    order = np.lexsort((np.where(answer, time, -time), ~answer, stay, subject))
    subject, stay, time, answer = subject[order], stay[order], time[order], answer[order]
    first = np.ones(len(order), bool)
    first[1:] = (subject[1:] != subject[:-1]) | (stay[1:] != stay[:-1])
    return Moments(subject[first], stay[first], time[first], answer[first])


def integers(labels: pa.Table, name: str) -> NDArray[np.int64]:
    """Read a column of numbers or times: int64 [L], `NEVER` where null."""
    return np.asarray(pc.fill_null(labels[name].cast(pa.int64()), NEVER).to_numpy(), np.int64)
