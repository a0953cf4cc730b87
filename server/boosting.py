"""Gradient boosting on all records in one place: the floor a federated model is held against.

Trees cannot be trained by averaging weights, and boosting them privately is another subject. But on tables of this kind
they are what a hospital would try first, so a comparison says what they reach on the same rows, splits and questions.

Source: Friedman, Annals of Statistics 2001; histogram splits as in scikit-learn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from clinical.asking import read_questions
from clinical.asking.split import count
from clinical.learning import Questions
from clinical.tasks.prediction import find_prediction_task

if TYPE_CHECKING:
    from pathlib import Path

    from clinical.asking.split import Split
    from clinical.tasks.prediction import PredictionTask
    from study.protocol import Study

__all__ = ["boost"]

# small data sets, many noisy columns: shallow trees, slow steps, an end where the tuning split no longer gains
_SETTINGS = {"learning_rate": 0.05, "max_leaf_nodes": 15, "min_samples_leaf": 40, "l2_regularization": 1.0}
_TREES = 400
_PATIENCE = 30


def boost(study: Study, hospital: Path) -> dict[str, float | None]:
    """Train on a hospital's training split, stop by its tuning split and score its held-out split.

    Args:
        study: a study of a prediction task; of its settings the task, the features and the seed count.
        hospital: the hospital's folder, as a rule all records of a comparison together.

    Returns:
        The scores by name.
    """
    task = find_prediction_task(study.task.name)
    splits = read_questions(str(hospital), task.name, "rows", study.form)
    train, tuning, held_out = (splits[name] for name in ("train", "tuning", "held_out"))
    model = _fit(task, train, tuning, seed=study.study.seed)
    found = count(task, _predict(task, model, held_out), held_out)
    return {name: score.value for name, score in found.scores().items()}


def _fit(task: PredictionTask, train: Split, tuning: Split, *, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    stop = {"max_iter": _TREES, "n_iter_no_change": _PATIENCE, "early_stopping": True, "random_state": seed}
    if task.kind == "binary":
        model = HistGradientBoostingClassifier(**_SETTINGS, **stop)
    else:
        model = HistGradientBoostingRegressor(loss="absolute_error", **_SETTINGS, **stop)
    weight = _questions(train).weight
    return model.fit(
        _rows(train),
        _answers(train),
        sample_weight=None if weight is None else weight.numpy(),
        X_val=_rows(tuning),
        y_val=_answers(tuning),
    )


def _predict(task: PredictionTask, model: Any, split: Split) -> np.ndarray:
    """Predict every question: float32 [M], logits or numbers in the task's unit."""
    raw = model.decision_function(_rows(split)) if task.kind == "binary" else model.predict(_rows(split))
    return task.from_model(np.asarray(raw, np.float32))


def _rows(split: Split) -> np.ndarray:
    return _questions(split).features.numpy()


def _answers(split: Split) -> np.ndarray:
    """Answers on the model's scale, in the order of the rows."""
    return _questions(split).labels.numpy()[:, 0]


def _questions(split: Split) -> Questions:
    assert isinstance(split.questions, Questions)  # rows are; streams and prompts are of other models
    return split.questions
