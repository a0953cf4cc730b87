"""Predicting an outcome at the hospital: stays on the hourly grid, judged by ranking, calibration and error.

Nothing about the patients is needed before training begins, for scales and starting points are public. What leaves
afterwards are sums over the split and its sub-groups, withheld where too few patients stand on either side, or noised
and charged where the study covers its releases.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clients import admission, releases, training
from clients.replies import put_arrays, put_facts, put_withheld
from clinical.learning import Questions, predict
from clinical.metrics.outcomes import Errors, Risks
from clinical.models import MODELS
from clinical.tasks.prediction import find_prediction_task

if TYPE_CHECKING:
    from flwr.app import RecordDict
    from torch import nn

    from clients.visit import Visit
    from clinical.features.hourly import Stays
    from clinical.learning import Cases
    from clinical.metrics.outcomes import Outcomes
    from clinical.models import Reads
    from clinical.tasks.prediction import PredictionTask

FORM = "48 hourly variables on public scales, version 1"  # hospitals whose features differ must not be averaged


@dataclass(frozen=True, slots=True)
class Split:
    """One split: what the model learns from, and what is asked, question by question.

    Attributes:
        questions: the examples.
        place: for sequences, int64 [M, 2], stay and hour of each question; None where each example is one.
        answers: float32 [M], in the task's own unit.
        patient: int64 [M], whom each question is about.
        groups: by sub-group, bool [M].
    """

    questions: Questions
    place: np.ndarray | None
    answers: np.ndarray
    patient: np.ndarray
    groups: dict[str, np.ndarray]


class Prediction:
    """The work of one visit; see `clients.work.Work`."""

    def __init__(self, visit: Visit) -> None:
        """Take the visit; nothing is read before it is asked for."""
        self._visit = visit
        self._task = find_prediction_task(visit.study.task.name)

    @cached_property
    def splits(self) -> dict[str, Split]:
        """The three splits by name."""
        reads = MODELS[self._visit.study.model.name].reads
        return split_stays(str(self._visit.hospital.path), self._task.name, reads)

    @property
    def planted(self) -> None:
        """Canaries are invented documents with codes; stays have none."""

    def put_offer(self, content: RecordDict) -> None:
        """Say in which form the examples come; nothing is counted."""
        put_facts(content, features=self._features, encoder=FORM)

    def examples(self) -> Cases:
        """Give the training split."""
        return self.splits["train"].questions

    def model(self) -> nn.Module:
        """Build the study's model with the weights that came."""
        return training.load_model(self._visit.study, self._visit.arrays("arrays"), features=self._features, codes=1)

    def put_curve(self, content: RecordDict, model: nn.Module) -> None:
        """Add sums over the tuning split; where releases are covered, no round can afford it."""
        if self._visit.may_send("curve") and not self._visit.study.privacy.covers_releases:
            split = self.splits["tuning"]
            self._put_outcomes(content, "tuning", count(self._task, answer(self._task, model, split), split))

    def put_tuning(self, content: RecordDict, model: nn.Module) -> None:
        """Add the final model's sums over the tuning split: the end of the curve; no threshold is chosen."""
        self.put_curve(content, model)

    def put_judgement(self, content: RecordDict, model: nn.Module) -> None:
        """Add sums over the held-out split, of all and by sub-group."""
        self._put_judgement(content, model, purpose="held-out")

    def put_alone(self, content: RecordDict) -> None:
        """Train alone and add sums over the held-out split."""
        visit, tuning = self._visit, self.splits["tuning"]

        def score(model: nn.Module) -> float:
            return goodness(count(self._task, answer(self._task, model, tuning), tuning))

        model = training.train_alone(
            visit.study, visit.plan, self.model(), self.examples(), name=visit.hospital.name, score=score
        )
        self._put_judgement(content, model, purpose="alone/held-out")

    @property
    def _features(self) -> int:
        return int(self.splits["train"].questions.features.shape[-1])

    def _put_judgement(self, content: RecordDict, model: nn.Module, *, purpose: str) -> None:
        visit, split = self._visit, self.splits["held_out"]
        if not visit.may_send("held-out"):
            return
        predictions = answer(self._task, model, split)
        if (multiplier := visit.plan.release_noise) is not None:
            admission.charge_release(visit.hospital, visit.plan, run=visit.run)
            sums = releases.noised_outcomes(
                self._task, predictions, split.answers, split.patient, multiplier=multiplier, noise=visit.noise(purpose)
            )
            put_arrays(content, "noised", {"sums": sums})
            return
        drawn = visit.study.study.seed if visit.study.privacy.reproducible_noise else secrets.randbits(128)
        replicates = visit.study.evaluation.replicates
        self._put_outcomes(
            content, "outcomes", count(self._task, predictions, split, replicates=replicates, seed=drawn)
        )
        for name, chosen in shown_groups(self._task, split, minimum=visit.minimum_cell).items():
            own = count(self._task, predictions, split, chosen=chosen, replicates=replicates, seed=drawn)
            self._put_outcomes(content, f"outcomes/{name}", own)

    def _put_outcomes(self, content: RecordDict, record: str, outcomes: Outcomes) -> None:
        """Add sums, or the fact that too few patients stand behind them."""
        if outcomes.too_small(minimum=self._visit.minimum_cell):
            put_withheld(content, record)
        else:
            put_arrays(content, record, outcomes.to_arrays())


def answer(task: PredictionTask, model: nn.Module, split: Split) -> np.ndarray:
    """Predict every question of a split: float32 [M], logits or numbers in the task's unit."""
    outputs = predict(model, split.questions.features, rows=4096 if split.place is None else 256)[..., 0]
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


def shown_groups(task: PredictionTask, split: Split, *, minimum: int) -> dict[str, np.ndarray]:
    """Choose the sub-groups whose sums may leave, by name bool [M].

    Guarantee:
        A class is shown only with enough patients on either side, and only where those who stand in no shown class of
        its dimension are nobody or enough too: else the sums of all less those shown would give a small class back.
    """
    nobody = np.zeros(len(split.answers), bool)
    shown: dict[str, np.ndarray] = {}
    for dimension in sorted({name.partition(":")[0] for name in split.groups}):
        classes = {name: own for name, own in split.groups.items() if name.startswith(f"{dimension}:")}
        large = {name: own for name, own in classes.items() if not _too_small(task, split, own, minimum=minimum)}
        rest = ~np.logical_or.reduce([nobody, *large.values()])
        if not _too_small(task, split, rest, minimum=minimum):
            shown |= large
    return shown


def _too_small(task: PredictionTask, split: Split, chosen: np.ndarray, *, minimum: int) -> bool:
    """Tell whether some, but too few, patients stand on either side of what is asked of some questions, bool [M]."""
    return count(task, np.zeros(len(split.answers), np.float32), split, chosen=chosen).too_small(minimum=minimum)


def goodness(outcomes: Outcomes) -> float:
    """Say in one number, higher is better, how good a model is: AUROC, or the negative mean absolute error."""
    scores = outcomes.scores()
    value = scores["auroc"].value if isinstance(outcomes, Risks) else scores["mae"].value
    if value is None:
        return float("-inf")
    return value if isinstance(outcomes, Risks) else -value


@lru_cache(maxsize=32)
def split_stays(hospital: str, name: str, reads: Reads) -> dict[str, Split]:
    """Read a hospital's stays once a process; a fresh process reads them anew."""
    from clinical.events import SPLITS, ProfileError, read_splits
    from clinical.features.groups import read_groups
    from clinical.features.hourly import read_stays

    task = find_prediction_task(name)
    stays = read_stays(Path(hospital), task)
    split_of = read_splits(Path(hospital))
    if absent := len(set(stays.subject_id.tolist()) - split_of.keys()):
        raise ProfileError(f"the splits lack {absent} patients that have stays; write the splits again")
    where = np.array([split_of[patient] for patient in stays.subject_id.tolist()])
    groups = read_groups(Path(hospital), stays)
    build = _rows if reads == "rows" else _sequences
    parts = {each: np.flatnonzero(where == each) for each in SPLITS}
    return {
        each: build(task, stays.take(rows), {group: member[rows] for group, member in groups.items()})
        for each, rows in parts.items()
    }


def _sequences(task: PredictionTask, stays: Stays, groups: dict[str, np.ndarray]) -> Split:
    questions = Questions(stays.sequences(), task.to_model(stays.labels), stays.subject_id)
    place = np.argwhere(~np.isnan(stays.labels))
    stay = place[:, 0]
    answers = stays.labels[stay, place[:, 1]]
    return Split(questions, place, answers, stays.subject_id[stay], {name: own[stay] for name, own in groups.items()})


def _rows(task: PredictionTask, stays: Stays, groups: dict[str, np.ndarray]) -> Split:
    from clinical.features.rows import summarise

    rows = summarise(stays)
    patient = stays.subject_id[rows.stay]
    weight = (1 / np.bincount(rows.stay, minlength=len(stays)).clip(min=1))[rows.stay]  # a long stay is one stay
    questions = Questions(rows.features, task.to_model(rows.labels), patient, weight)
    return Split(questions, None, rows.labels, patient, {name: own[rows.stay] for name, own in groups.items()})
