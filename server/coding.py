"""Many codes at the coordinator: a vocabulary agreed from counts, thresholds from the tuning split, scores by code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from clinical.metrics.thresholds import best_micro
from clinical.tasks.label_space import LabelSpace
from clinical.vocabulary import agree
from server import answers
from server.agenda import Point
from server.counts import read_tuning
from server.roster import StudyFailed
from server.warm_start import warm_start

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flwr.app import RecordDict

    from server.answers import Questions
    from server.archive import Archive
    from server.exchange import Arrays
    from server.roster import Roster
    from server.rounds import Progress
    from study.protocol import Study


class CodingAgenda:
    """See `server.agenda.Agenda`."""

    metric = "micro_f1"
    higher_is_better = True

    def __init__(self, roster: Roster, study: Study) -> None:
        """Agree on the codes the study predicts.

        Raises:
            StudyFailed: no code is left, or the frozen list cannot be read.
        """
        self._roster, self._study = roster, study
        self.codes = vocabulary(roster, study)

    def terms(self) -> dict[str, Any]:
        """Every message carries the vocabulary."""
        return {"vocabulary": list(self.codes)}

    def facts(self) -> dict[str, Any]:
        """Describe the vocabulary."""
        return {"vocabulary": _describe(self._roster, self.codes, self._study)}

    def initial_model(self) -> Arrays:
        """Build the model every hospital starts from.

        The last bias starts at the codes' pooled frequencies, which the vocabulary's counts have already published:
        the first rounds, the dearest ones under differential privacy, are not spent on learning that most codes are
        rare. Where the study asks for it, the weights start from the codes' titles.
        """
        import numpy as np

        from clinical.models import build_model

        model = build_model(
            self._study.model.name,
            features=self._roster.sites[0].features,
            codes=len(self.codes),
            dropout=self._study.model.dropout,
            seed=self._study.study.seed,
        )
        arrays = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
        sites = self._roster.sites
        counted = sum(site.patients if site.documents is None else site.documents for site in sites)
        counts = np.array([sum(site.counts.get(code, 0) for site in sites) for code in self.codes])
        share = np.clip((counts + 0.5) / (counted + 1), 1e-5, 1 - 1e-5)
        last = [name for name in arrays if name.endswith("bias")][-1]
        arrays[last] = np.log(share / (1 - share)).astype(arrays[last].dtype)
        return warm_start(self._study, self._roster, self.codes, arrays)

    def read_curve(self, replies: Mapping[str, RecordDict]) -> Point | None:
        """Pool the tuning scores and take micro-F1 at the best threshold."""
        tuning = read_tuning(replies, codes=len(self.codes))
        return None if tuning is None else Point(best_micro(tuning.histogram).f1, tuning.loss, tuning.sites)

    def answer(self, questions: Questions, progress: Progress, archive: Archive, initial: Arrays) -> None:
        """Choose the final model and its thresholds, score it, and compare it with hospitals on their own."""
        tuned = answers.tune(questions, progress.arrays, codes=len(self.codes))
        if tuned is not None:
            best = best_micro(tuned.tuning.histogram).f1
            progress.judge(Point(best, tuned.tuning.loss, tuned.tuning.sites))
        model, kept = progress.final(keep=questions.study.federation.keep)
        if model is not progress.arrays:
            tuned = answers.tune(questions, model, codes=len(self.codes))
        archive.note(curve=progress.curve, kept_round=kept)
        archive.keep_model(model)
        archive.keep_vocabulary(self.codes, tuned.thresholds if tuned else None)
        if tuned is None:
            raise StudyFailed(
                "no hospital lets tuning counts leave, by policy or because too few patients stand behind them, so no "
                "threshold can be chosen"
            )
        final = answers.judge(questions, model, tuned.thresholds, vocabulary=self.codes)
        archive.note(thresholds=tuned.thresholds.summary(), final=final)
        if questions.study.evaluation.local_baseline:
            with archive.timed("local baseline"):
                alone = answers.judge_alone(questions, initial, vocabulary=self.codes)
                archive.note(baselines={"local": alone})


def vocabulary(roster: Roster, study: Study) -> tuple[str, ...]:
    """Agree on the codes the study predicts.

    Returns:
        K codes in order: the frozen list the study names, or those with enough documents over all sites.

    Raises:
        StudyFailed: no code is left, or the frozen list cannot be read.
    """
    if study.task.vocabulary:
        try:
            frozen = Path(study.task.vocabulary).read_text(encoding="utf-8").split()
        except OSError:
            raise StudyFailed(f"task.vocabulary = {study.task.vocabulary!r} cannot be read") from None
        if not frozen or len(set(frozen)) != len(frozen):
            raise StudyFailed(f"task.vocabulary = {study.task.vocabulary!r} must list each code once, one a line")
        return tuple(frozen)
    counts = {site.name: site.counts for site in roster.sites}
    space = LabelSpace(study.task.name, study.task.codes)
    try:
        return agree(counts, minimum_documents=study.task.minimum_documents)
    except ValueError:
        raise StudyFailed(
            f"no code of {space.name} has {study.task.minimum_documents} documents over the "
            f"{len(roster.sites)} hospitals: lower task.minimum-documents or check task.codes"
        ) from None


def _describe(roster: Roster, codes: tuple[str, ...], study: Study) -> dict[str, Any]:
    space = LabelSpace(study.task.name, study.task.codes)
    return {
        "system": space.name,
        "minimum_documents": study.task.minimum_documents,
        "frozen": bool(study.task.vocabulary),
        "codes": [
            {
                "code": code,
                "title": space.title(code),
                "documents": sum(site.counts.get(code, 0) for site in roster.sites),
            }
            for code in codes
        ],
    }
