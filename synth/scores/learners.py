"""Learners that ask what a table teaches: the same two, fitted to real and to synthetic rows, tried on a holdout.

A linear model needs the main effects to be right, boosted trees the interactions as well, so a cohort that serves one
may fail the other. Both see encoded rows: numbers on their public scale, categories as such, missing as missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from synth.columns import LISTED
from synth.distances import MISSING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from synth.columns import Column
    from synth.distances import Rows

    Array = NDArray[np.float64]

_MOST_CATEGORIES = 200  # of a column that trees take as categories; beyond, as numbers


def plain_features(rows: Rows) -> Array:
    """Encoded rows with NaN for missing, float64 [N, F]."""
    features: Array = np.where(rows == MISSING, np.nan, rows).astype(np.float64)
    return features


def make_logistic(columns: Sequence[Column], seed: int) -> Any:
    """A logistic regression on one-hot categories and scaled numbers, gaps filled with the median."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    listed = [i for i, column in enumerate(columns) if column.kind == "categorical"]
    numeric = [i for i in range(len(columns)) if i not in listed]
    fill = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    parts = [
        ("listed", OneHotEncoder(handle_unknown="ignore"), listed),
        ("numeric", make_pipeline(fill, StandardScaler()), numeric),
    ]
    return make_pipeline(ColumnTransformer(parts), LogisticRegression(max_iter=500, tol=1e-3, random_state=seed))


def make_boosting(columns: Sequence[Column], seed: int) -> Any:
    """Histogram gradient boosting, small enough for a few hundred rows."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    listed = [c.kind == "categorical" and len(c.categories) <= _MOST_CATEGORIES for c in columns]
    return HistGradientBoostingClassifier(
        max_iter=60,
        learning_rate=0.1,
        max_leaf_nodes=15,
        categorical_features=listed,
        early_stopping=False,
        random_state=seed,
    )


LEARNERS: dict[str, Callable[[Sequence[Column], int], Any]] = {"logistic": make_logistic, "boosting": make_boosting}


def is_class(column: Column) -> bool:
    """Whether a column can be predicted as a class: categories, truth values, or a number of two values."""
    return column.kind in LISTED or column.kind == "boolean" or column.levels == 2


def predict_column(
    name: str, columns: Sequence[Column], target: int, rows: Rows, *, asked: Rows, classes: Array, seed: int
) -> Array:
    """Fits a learner to predict one column from the others, and asks it about other rows.

    Args:
        name: of `LEARNERS`.
        columns: of all rows.
        target: position of the column to predict, whose cells are present.
        rows: float32 [N, F] to learn from.
        asked: float32 [M, F] to predict.
        classes: float64 [K], the encoded values of the target.
        seed: of the learner.

    Returns:
        float64 [M, K], probabilities; a class that `rows` do not hold has probability 0.
    """
    others = [i for i in range(len(columns)) if i != target]
    probabilities = np.zeros((len(asked), len(classes)))
    values = rows[:, target].astype(np.float64)
    found = np.unique(values)
    if len(found) == 1:
        probabilities[:, np.isclose(classes, found[0])] = 1.0
        return probabilities
    model = LEARNERS[name]([columns[i] for i in others], seed)
    model.fit(plain_features(rows[:, others]), np.searchsorted(found, values))
    predicted = model.predict_proba(plain_features(asked[:, others]))
    for position, value in enumerate(found):
        probabilities[:, np.isclose(classes, value)] = predicted[:, [position]]
    return probabilities


def class_area(truth: NDArray[np.int64], probabilities: Array) -> float:
    """Mean area under the ROC curve of each class against the rest, over classes that are there; NaN for one class."""
    from scipy.stats import rankdata

    areas = []
    for k in range(probabilities.shape[1]):
        positive = truth == k
        P, N = int(positive.sum()), int((~positive).sum())
        if P and N:
            ranks = rankdata(probabilities[:, k])
            areas.append((ranks[positive].sum() - P * (P + 1) / 2) / (P * N))
    return float(np.mean(areas)) if areas else float("nan")
