"""What crosses the border: every record of a reply is put there by a function of this module.

Site policy decides which groups of numbers leave at all. What leaves is either exact, small cells withheld and listed
as not covered, or, where the study covers its releases, a noisy sum that is charged to the ledger before it exists.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from clients import admission, cohort, releases, scoring
from clinical.metrics import withhold

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from clients.visit import Visit
    from clinical.metrics.thresholds import Thresholds
    from clinical.tasks.coding import CodingReport, Documents


def verdict(status: str, **facts: str | float) -> RecordDict:
    """Start a reply: ``ok`` with facts, or ``refused`` or ``error`` with a reason."""
    return RecordDict({"verdict": ConfigRecord({"status": status, **facts})})


def put_arrays(content: RecordDict, record: str, arrays: dict[str, np.ndarray]) -> None:
    """Add numpy arrays to a reply."""
    content[record] = ArrayRecord({name: Array(array) for name, array in arrays.items()})


def put_counts(content: RecordDict, visit: Visit, documents: Documents, report: CodingReport) -> None:
    """Add documents by code and what became of all notes; where releases are covered, noisy patients by code."""
    minimum = visit.minimum_cell
    if (multiplier := visit.plan.release_noise) is None:
        counts = cohort.code_counts(documents, minimum=minimum)
        content["coding"] = ConfigRecord({"documents": len(documents), "report": json.dumps(asdict(report))})
    else:
        admission.charge_release(visit.hospital, visit.plan, run=visit.run)
        system, noise = visit.study.task.codes, visit.noise("codes")
        counts = releases.noised_codes(documents, system=system, minimum=minimum, multiplier=multiplier, noise=noise)
    content["counts"] = ConfigRecord({"codes": list(counts), "documents": list(counts.values())})


def put_curve(content: RecordDict, visit: Visit, model: nn.Module) -> None:
    """Add how well the model that came does on the tuning split; where releases are covered, no round can afford it."""
    if visit.may_send("curve") and not visit.study.privacy.covers_releases:
        _put_tuning(content, visit, model, by_code=False)


def put_tuning(content: RecordDict, visit: Visit, model: nn.Module) -> None:
    """Add the final model's scores on the tuning split, by code, for the thresholds."""
    if visit.may_send("thresholds"):
        _put_tuning(content, visit, model, by_code=True)


def put_judgement(content: RecordDict, visit: Visit, model: nn.Module, thresholds: Thresholds, *, purpose: str) -> None:
    """Add a model's hits and misses on the held-out split."""
    if not visit.may_send("held-out"):
        return
    examples = visit.cohort.held_out
    if (multiplier := visit.plan.release_noise) is None:
        judgement = scoring.judge(visit.study, model, examples, thresholds).concealed(minimum=visit.minimum_cell)
        put_arrays(content, "tally", judgement.tally.to_arrays())
        put_arrays(content, "histogram", judgement.histogram.to_arrays())
        return
    admission.charge_release(visit.hospital, visit.plan, run=visit.run)
    rule = thresholds.only(visit.study.evaluation.threshold)
    sums = releases.noised_judgement(model, examples, rule, multiplier=multiplier, noise=visit.noise(purpose))
    put_arrays(content, "noised", {"sums": sums})


def _put_tuning(content: RecordDict, visit: Visit, model: nn.Module, *, by_code: bool) -> None:
    examples = visit.cohort.tuning
    if (multiplier := visit.plan.release_noise) is not None:
        admission.charge_release(visit.hospital, visit.plan, run=visit.run)
        sums = releases.noised_curve(model, examples, multiplier=multiplier, noise=visit.noise("thresholds"))
        put_arrays(content, "noised", {"sums": sums})
        return
    tuning = scoring.tune(model, examples, by_code=by_code)
    shown = withhold(tuning.histogram, minimum=visit.minimum_cell)
    put_arrays(content, "tuning", shown.to_arrays())
    content["tuning-loss"] = MetricRecord({"loss": tuning.loss, "documents": tuning.documents})
