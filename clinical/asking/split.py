"""One split of a hospital as a prediction task sees it: what a model learns from and is asked, and how it counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from clinical.events import SPLITS, ProfileError, read_splits
from clinical.learning import predict
from clinical.metrics.outcomes import Errors, Risks

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from clinical.asking.together import Prompted
    from clinical.learning import Questions
    from clinical.metrics.outcomes import Outcomes
    from clinical.streams import Streams
    from clinical.tasks.prediction import PredictionTask

__all__ = ["Split", "answer", "count", "goodness", "split_rows"]

_STEPS: Final = 1 << 16  # of sequences that are answered at a time


@dataclass(frozen=True, slots=True)
class Split:
    """One split: what the model learns from, and what is asked, question by question.

    Attributes:
        questions: the examples.
        place: for sequences, int64 [M, 2], example and step of each question; None where each example is one.
        answers: float32 [M], in the task's own unit.
        patient: int64 [M], whom each question is about.
        groups: by sub-group, bool [M].
    """

    questions: Questions | Streams | Prompted
    place: np.ndarray | None
    answers: np.ndarray
    patient: np.ndarray
    groups: dict[str, np.ndarray]


def answer(task: PredictionTask, model: nn.Module, split: Split) -> np.ndarray:
    """Predict every question of a split: float32 [M], logits or numbers in the task's unit."""
    features = split.questions.features
    rows = 4096 if split.place is None else max(1, min(256, _STEPS // features.shape[1]))
    outputs = predict(model, features, rows=rows)[..., 0]
    if split.place is not None:
        outputs = outputs[split.place[:, 0], split.place[:, 1]]
    return task.from_model(outputs)


def count(
    task: PredictionTask,
    predictions: np.ndarray,
    split: Split,
    *,
    chosen: np.ndarray | None = None,
    replicates: int = 0,
    seed: int = 0,
) -> Outcomes:
    """Count predictions against answers, of all questions or of some, bool [M].

    The replicates are drawn where the coordinator cannot see: whoever knew the draw could solve the sums for single
    patients.
    """
    kept = slice(None) if chosen is None else chosen
    kind = Risks if task.kind == "binary" else Errors
    return kind.of(
        predictions[kept],
        split.answers[kept],
        split.patient[kept],
        replicates=replicates,
        generator=np.random.default_rng(seed),
    )


def goodness(outcomes: Outcomes) -> float:
    """Say in one number, higher is better, how good a model is: AUROC, or the negative mean absolute error."""
    scores = outcomes.scores()
    value = scores["auroc"].value if isinstance(outcomes, Risks) else scores["mae"].value
    if value is None:
        return float("-inf")
    return value if isinstance(outcomes, Risks) else -value


def split_rows(hospital: Path, subject_id: np.ndarray) -> dict[str, np.ndarray]:
    """Give the places of each split's patients among ``subject_id``, int64 [N].

    Raises:
        ProfileError: the splits lack some of them.
    """
    split_of = read_splits(hospital)
    if absent := len(set(subject_id.tolist()) - split_of.keys()):
        raise ProfileError(f"the splits lack {absent} patients that have stays; write the splits again")
    where = np.array([split_of[patient] for patient in subject_id.tolist()])
    return {each: np.flatnonzero(where == each) for each in SPLITS}
