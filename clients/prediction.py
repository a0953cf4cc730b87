"""Predicting an outcome at the hospital, in the form a study chose, judged by ranking, calibration and error.

Nothing about the patients is needed before training begins, for scales and starting points are public. What leaves
afterwards are sums over the split and its sub-groups, withheld where too few patients stand on either side, or noised
and charged where the study covers its releases.
"""

from __future__ import annotations

import secrets
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from clients import admission, releases, training
from clients.cohort import encoder_of
from clients.replies import put_arrays, put_facts, put_withheld
from clinical.asking import read_questions
from clinical.asking.split import answer, count, goodness
from clinical.models import MODELS
from clinical.tasks.prediction import find_prediction_task

if TYPE_CHECKING:
    from flwr.app import RecordDict
    from torch import nn

    from clients.visit import Visit
    from clinical.asking.split import Split
    from clinical.learning import Cases
    from clinical.metrics.outcomes import Outcomes
    from clinical.tasks.prediction import PredictionTask


class Prediction:
    """The work of one visit; see `clients.work.Work`."""

    def __init__(self, visit: Visit) -> None:
        """Take the visit; nothing is read before it is asked for."""
        self._visit = visit
        self._task = find_prediction_task(visit.study.task.name)

    @property
    def splits(self) -> dict[str, Split]:
        """The three splits of the study's task by name."""
        return self.asked[self._task.name]

    @cached_property
    def asked(self) -> dict[str, dict[str, Split]]:
        """By task, the study's and those beside it, the three splits by name; with prompts where there are several."""
        study = self._visit.study
        reads, tasks = MODELS[study.model.name].reads, study.task.names
        found = {name: read_questions(str(self._visit.hospital.path), name, reads, study.form) for name in tasks}
        if len(tasks) == 1:
            return found
        from clinical.asking.together import prompt

        return {name: prompt(found[name], place=place, tasks=len(tasks)) for place, name in enumerate(tasks)}

    @property
    def planted(self) -> None:
        """Canaries are invented documents with codes; stays have none."""

    def put_offer(self, content: RecordDict) -> None:
        """Say in which form the examples come, for those that differ must not be averaged; nothing is counted."""
        form = self._visit.study.form
        put_facts(content, features=self._features, encoder=form.describe(encoder_of(form)))

    def examples(self) -> Cases:
        """Give the training split, of all tasks together."""
        if len(self.asked) == 1:
            return self.splits["train"].questions
        from clinical.asking.together import train_together

        return train_together([splits["train"] for splits in self.asked.values()])

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
        for name in visit.study.task.names[1:]:
            task, beside = find_prediction_task(name), self.asked[name]["held_out"]
            own = count(task, answer(task, model, beside), beside, replicates=replicates, seed=drawn)
            self._put_outcomes(content, f"beside/{name}", own)

    def _put_outcomes(self, content: RecordDict, record: str, outcomes: Outcomes) -> None:
        """Add sums, or the fact that too few patients stand behind them."""
        if outcomes.too_small(minimum=self._visit.minimum_cell):
            put_withheld(content, record)
        else:
            put_arrays(content, record, outcomes.to_arrays())


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
