"""Many codes at once at the hospital: of notes or of what follows a discharge, judged at thresholds.

Site policy decides which groups of numbers leave at all. What leaves is either exact, small cells withheld and listed
as not covered, or, where the study covers its releases, a noisy sum that is charged to the ledger before it exists.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

from flwr.app import ConfigRecord, MetricRecord, RecordDict

from clients import admission, canaries, cohort, releases, scoring, training
from clients.replies import put_arrays, put_facts, put_withheld
from clinical.metrics import withhold
from clinical.metrics.thresholds import Thresholds, best_micro, choose_thresholds
from clinical.tasks.label_space import LabelSpace

if TYPE_CHECKING:
    from torch import nn

    from clients.canaries import Planted
    from clients.cohort import Cohort
    from clients.visit import Visit
    from clinical.asking.discharges import DischargeReport
    from clinical.learning import Cases, Examples
    from clinical.tasks.coding import Coded, CodingReport


class Coding:
    """The work of one visit; see `clients.work.Work`."""

    def __init__(self, visit: Visit) -> None:
        """Take the visit; nothing is read before it is asked for."""
        self._visit = visit

    @cached_property
    def codes(self) -> tuple[str, ...]:
        """The agreed vocabulary, K codes."""
        listed: Any = self._visit.terms["vocabulary"]
        return tuple(listed)

    @cached_property
    def cohort(self) -> Cohort:
        """The hospital's examples for the agreed vocabulary."""
        return cohort.assemble(self._visit.study, self._visit.hospital, self.codes)

    @cached_property
    def planted(self) -> Planted | None:
        """The run's canaries here, where the study has any."""
        visit, features = self._visit, self.cohort.train.features.shape[1]
        return canaries.plant(visit.study, visit.hospital, run=visit.run, features=features, codes=len(self.codes))

    @cached_property
    def _training_split(self) -> Examples:
        return self.cohort.train if self.planted is None else self.planted.join(self.cohort.train)

    def put_offer(self, content: RecordDict) -> None:
        """Make what a model reads and count documents per code."""
        study, hospital = self._visit.study, self._visit.hospital
        documents, report = cohort.read_coded(study, hospital)
        features, encoder = cohort.describe_features(study, hospital)
        put_facts(content, features=features, encoder=encoder)
        self._put_counts(content, documents, report)

    def examples(self) -> Cases:
        """Give the training split, and among its patients the canaries whose coins said so."""
        return self._training_split

    def model(self) -> nn.Module:
        """Build the study's model with the weights that came."""
        features = self.cohort.train.features.shape[1]
        arrays = self._visit.arrays("arrays")
        return training.load_model(self._visit.study, arrays, features=features, codes=len(self.codes))

    def put_curve(self, content: RecordDict, model: nn.Module) -> None:
        """Add scores of the tuning split over all codes; where releases are covered, no round can afford it."""
        if self._visit.may_send("curve") and not self._visit.study.privacy.covers_releases:
            self._put_tuning(content, model, by_code=False)

    def put_tuning(self, content: RecordDict, model: nn.Module) -> None:
        """Add scores of the tuning split by code, for the thresholds."""
        if self._visit.may_send("thresholds"):
            self._put_tuning(content, model, by_code=True)

    def put_judgement(self, content: RecordDict, model: nn.Module) -> None:
        """Add hits and misses on the held-out split at the thresholds that came."""
        thresholds = Thresholds.from_arrays(self._visit.arrays("thresholds"))
        self._put_judgement(content, model, thresholds, purpose="held-out")

    def put_alone(self, content: RecordDict) -> None:
        """Train alone, choose the thresholds on this hospital's own tuning split, and add hits and misses."""
        visit = self._visit

        def score(model: nn.Module) -> float:
            return best_micro(scoring.tune(model, self.cohort.tuning).histogram).f1 or 0.0

        model = training.train_alone(
            visit.study, visit.plan, self.model(), self.cohort.train, name=visit.hospital.name, score=score
        )
        thresholds = choose_thresholds(scoring.tune(model, self.cohort.tuning).histogram)
        self._put_judgement(content, model, thresholds, purpose="alone/held-out")

    def _put_counts(self, content: RecordDict, documents: Coded, report: CodingReport | DischargeReport) -> None:
        """Add documents by code and what became of the others; where releases are covered, noisy patients by code."""
        visit, minimum = self._visit, self._visit.minimum_cell
        if (multiplier := visit.plan.release_noise) is None:
            counts = cohort.code_counts(documents, minimum=minimum)
            content["coding"] = ConfigRecord({"documents": len(documents), "report": json.dumps(asdict(report))})
        else:
            admission.charge_release(visit.hospital, visit.plan, run=visit.run)
            universe, noise = LabelSpace(visit.study.task.name, visit.study.task.codes).universe(), visit.noise("codes")
            counts = releases.noised_codes(documents, universe, minimum=minimum, multiplier=multiplier, noise=noise)
        content["counts"] = ConfigRecord({"codes": list(counts), "documents": list(counts.values())})

    def _put_judgement(self, content: RecordDict, model: nn.Module, thresholds: Thresholds, *, purpose: str) -> None:
        visit, examples = self._visit, self.cohort.held_out
        if not visit.may_send("held-out"):
            return
        if (multiplier := visit.plan.release_noise) is None:
            judgement = scoring.judge(visit.study, model, examples, thresholds).concealed(minimum=visit.minimum_cell)
            if 0 < judgement.tally.patients < visit.minimum_cell:
                put_withheld(content, "tally")
                return
            put_arrays(content, "tally", judgement.tally.to_arrays())
            put_arrays(content, "histogram", judgement.histogram.to_arrays())
            return
        admission.charge_release(visit.hospital, visit.plan, run=visit.run)
        rule = thresholds.only(visit.study.evaluation.threshold)
        sums = releases.noised_judgement(model, examples, rule, multiplier=multiplier, noise=visit.noise(purpose))
        put_arrays(content, "noised", {"sums": sums})

    def _put_tuning(self, content: RecordDict, model: nn.Module, *, by_code: bool) -> None:
        visit, examples = self._visit, self.cohort.tuning
        if (multiplier := visit.plan.release_noise) is not None:
            admission.charge_release(visit.hospital, visit.plan, run=visit.run)
            sums = releases.noised_curve(model, examples, multiplier=multiplier, noise=visit.noise("thresholds"))
            put_arrays(content, "noised", {"sums": sums})
            return
        tuning = scoring.tune(model, examples, by_code=by_code)
        if 0 < tuning.documents < visit.minimum_cell:
            put_withheld(content, "tuning")
            return
        shown = withhold(tuning.histogram, minimum=visit.minimum_cell)
        put_arrays(content, "tuning", shown.to_arrays())
        content["tuning-loss"] = MetricRecord({"loss": tuning.loss, "documents": tuning.documents})
