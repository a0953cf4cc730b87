"""How an attacker guesses a secret who has the cohort and knows everything else of a patient.

Two ways are joined. Where one synthetic row alone lies unusually close to the patient, closer than synthetic rows lie
to each other, its secret is taken: if it was made from this patient, that is the patient's. Everywhere else a model
learnt from the cohort says what is usual for somebody like this. The second way alone is what research is for and gains
as much on patients nobody learnt from; the first alone is worse than naming the usual value, and measures nothing then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from synth.columns import BOUNDED
from synth.distances import MISSING
from synth.neighbours import nearest, nearest_others
from synth.scores.learners import plain_features

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from synth.distances import Rows
    from synth.evidence import Evidence

_CLOSE = 0.05  # of the distances between synthetic rows: nearer than these is unusually close
_MOST_VALUES = 20  # of a secret that the model tells apart; rarer ones are only ever taken from a close row
_LEAST_ROWS = 20  # to learn from


@dataclass(frozen=True, slots=True)
class Guesses:
    """Guesses of one secret.

    Attributes:
        cells: float32 [T + H], encoded, one for each real row.
        usual: the guess of somebody who looks at nobody: the cohort's most frequent value, or its median.
        numeric: whether the secret is a number.
    """

    cells: Rows
    usual: float
    numeric: bool


def guess_secret(evidence: Evidence, secret: str, *, seed: int) -> Guesses | None:
    """Guesses a secret of every real row from the cohort and the row's other columns.

    Args:
        evidence: the three tables.
        secret: name of a column.
        seed: of the model.

    Returns:
        The guesses; None where the cohort holds too few values of the secret, or nothing beside it.
    """
    column = evidence.spec.names.index(secret)
    others = [i for i in range(len(evidence.spec.columns)) if i != column]
    made = evidence.synthetic_rows[evidence.synthetic_rows[:, column] != MISSING]
    if len(made) < _LEAST_ROWS or not others:
        return None
    numeric = evidence.spec.columns[column].kind in BOUNDED
    values, counts = np.unique(made[:, column], return_counts=True)
    usual = float(np.median(made[:, column]) if numeric else values[counts.argmax()])
    learnt = _learnt(made[:, others], made[:, column], evidence.real_rows[:, others], numeric=numeric, seed=seed)
    taken, close = _closest(made[:, others], evidence.real_rows[:, others])
    return Guesses(np.where(close, made[taken, column], learnt).astype(np.float32), usual, numeric)


def _closest(made: Rows, real: Rows) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """For each real row the nearest synthetic row, and whether it alone lies unusually close."""
    near = nearest(real, made, k=2)
    apart = nearest_others(made).distance[:, 0]
    close = (near.distance[:, 0] <= np.quantile(apart, _CLOSE)) & (near.distance[:, 0] < near.distance[:, 1])
    return near.index[:, 0], close


def _learnt(made: Rows, secrets: Rows, real: Rows, *, numeric: bool, seed: int) -> NDArray[np.float64]:
    """What boosted trees say of each real row."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    values, counts = np.unique(secrets, return_counts=True)
    if not numeric:
        frequent = values[np.argsort(-counts, kind="stable")[:_MOST_VALUES]]
        kept = np.isin(secrets, frequent)
        made, secrets = made[kept], secrets[kept]
    if len(values) == 1:
        return np.full(len(real), values[0], np.float64)
    settings: dict[str, Any] = {"max_iter": 60, "max_leaf_nodes": 15, "early_stopping": False, "random_state": seed}
    model = (
        HistGradientBoostingRegressor(loss="absolute_error", **settings)
        if numeric
        else HistGradientBoostingClassifier(**settings)
    )
    model.fit(plain_features(made), secrets if numeric else np.searchsorted(values, secrets))
    found = model.predict(plain_features(real))
    guesses: NDArray[np.float64] = found if numeric else values[found].astype(np.float64)
    return guesses
