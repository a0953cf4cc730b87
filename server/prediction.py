"""Predicting an outcome at the coordinator: public scales to start from, pooled sums to answer with."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from clinical.metrics.noised_outcomes import read_sums
from clinical.metrics.outcomes import Errors, Risks, read_outcomes
from clinical.metrics.pooling import pool
from clinical.tasks.prediction import find_prediction_task
from server.agenda import Point
from server.counts import add_sums, noised_sums
from server.exchange import numpy_arrays
from server.roster import StudyFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flwr.app import RecordDict

    from clinical.metrics.outcomes import Outcomes
    from server.answers import Questions
    from server.archive import Archive
    from server.exchange import Arrays, Outcome
    from server.roster import Roster
    from server.rounds import Progress
    from study.protocol import Study

_GROUP = "outcomes/"
_BESIDE = "beside/"


class PredictionAgenda:
    """See `server.agenda.Agenda`."""

    def __init__(self, roster: Roster, study: Study) -> None:
        """Take the task; nothing has to be agreed on, for its scales are public."""
        self._roster, self._study = roster, study
        self._task = find_prediction_task(study.task.name)

    @property
    def metric(self) -> str:
        """The area under the ROC curve, or the mean absolute error."""
        return "auroc" if self._task.kind == "binary" else "mae"

    @property
    def higher_is_better(self) -> bool:
        """Errors are better low."""
        return self._task.kind == "binary"

    def terms(self) -> dict[str, Any]:
        """No message needs more than the model."""
        return {}

    def facts(self) -> dict[str, Any]:
        """Describe the task."""
        return {"task": asdict(self._task), "beside": list(self._study.task.names[1:])}

    def initial_model(self) -> Arrays:
        """Build the model every hospital starts from; its last bias is the task's public prior."""
        from clinical.models import build_model

        model = build_model(
            self._study.model.name,
            features=self._roster.sites[0].features,
            codes=1,
            dropout=self._study.model.dropout,
            seed=self._study.study.seed,
        )
        arrays = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
        last = [name for name in arrays if name.endswith("bias")][-1]
        arrays[last] = np.full_like(arrays[last], self._task.start)
        return arrays

    def read_curve(self, replies: Mapping[str, RecordDict]) -> Point | None:
        """Pool the tuning sums and take the metric."""
        own = _own(replies, "tuning")
        if not own:
            return None
        sites = {name: each.scores()[self.metric].value for name, each in own.items()}
        return Point(pool(own.values()).scores()[self.metric].value, None, sites)

    def answer(self, questions: Questions, progress: Progress, archive: Archive, initial: Arrays) -> None:
        """Choose the final model, score it, and compare it with hospitals on their own."""
        covered = self._study.privacy.covers_releases
        if not covered:
            outcome = questions.put("evaluate.tune", arrays=progress.arrays)
            progress.judge(self.read_curve(questions.roster.named(outcome)))
        model, kept = progress.final(keep=self._study.federation.keep)
        archive.note(curve=progress.curve, kept_round=kept)
        archive.keep_model(model)
        archive.note(final=self._answers(questions, questions.put("evaluate.judge", to=questions.judges, arrays=model)))
        if self._study.evaluation.local_baseline:
            with archive.timed("local baseline"):
                alone = self._answers(questions, questions.put("train.alone", to=questions.judges, arrays=initial))
                archive.note(baselines={"local": alone})

    def _answers(self, questions: Questions, outcome: Outcome) -> dict[str, Any]:
        """Pool the replies and read every score from the sums."""
        replies = questions.judges.named(outcome)
        own = self._judgements(replies)
        if not own:
            raise StudyFailed(
                "no hospital sent sums of its held-out split, so there is nothing to report: site policy forbids it, "
                "or too few patients stand on either side of the answer at every hospital"
            )
        pooled = self._pooled(replies, own)
        return {
            "family": "prediction",
            "noised": self._study.privacy.covers_releases,
            "pooled": _scores(pooled),
            "calibration": pooled.calibration() if isinstance(pooled, Risks) else [],
            "sites": {name: _scores(each) for name, each in own.items()},
            "groups": {name: _scores(each) for name, each in _named(replies, _GROUP).items()},
            "beside": {name: _scores(each) for name, each in _named(replies, _BESIDE).items()},
            "missing": [questions.judges.name(absence.node) for absence in outcome.absences],
            "withheld": sorted(name for name in replies if name not in own),
        }

    def _judgements(self, replies: Mapping[str, RecordDict]) -> dict[str, Outcomes]:
        """Each hospital's own judgement, exact or noised."""
        noised = noised_sums(replies)
        if noised:
            return {name: read_sums(self._task, sums, hospitals=1) for name, sums in noised.items()}
        return _own(replies, "outcomes")

    def _pooled(self, replies: Mapping[str, RecordDict], own: Mapping[str, Outcomes]) -> Outcomes:
        """Add before anything is read, so that noise averages out."""
        noised = noised_sums(replies)
        if noised:
            return read_sums(self._task, add_sums(noised), hospitals=len(noised))
        return pool(own.values())


def _own(replies: Mapping[str, RecordDict], record: str) -> dict[str, Outcomes]:
    """Read one record of each reply that has it."""
    return {
        name: read_outcomes(numpy_arrays(content.array_records[record]))
        for name, content in replies.items()
        if record in content.array_records
    }


def _named(replies: Mapping[str, RecordDict], prefix: str) -> dict[str, Outcomes]:
    """Pool every record whose name begins so over the hospitals that show it, by the rest of its name."""
    names = sorted({name for content in replies.values() for name in content.array_records if name.startswith(prefix)})
    return {name.removeprefix(prefix): pool(_own(replies, name).values()) for name in names}


def _scores(outcomes: Risks | Errors) -> dict[str, Any]:
    return {name: asdict(score) for name, score in outcomes.scores().items()}
