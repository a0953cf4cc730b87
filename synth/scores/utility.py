"""Utility and fairness: does a model trained on the cohort do on real patients what one trained on patients does?

Two models of one kind, one trained on the cohort and one on training rows, are tried on the same holdout, over all and
in each declared sub-group. Utility is the ratio of their areas under the ROC curve; fairness is how much wider the
cohort's model opens the gap of equalised odds between the groups. Intervals come from resampling holdout patients, the
same ones for both models, so what they share cancels.

Source: Esteban, Hyland & Rätsch 2017 (arXiv 1706.02633, train on synthetic, test on real); Hardt, Price & Srebro 2016
(arXiv 1610.02413, equalised odds).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from synth.columns import LISTED
from synth.distances import MISSING
from synth.scores.learners import LEARNERS, class_area, is_class, predict_column
from synth.scores.score import Score, not_computed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from privacy.audits.record import Verdict
    from synth.evidence import Evidence

    Array = NDArray[np.float64]
    Index = NDArray[np.int64]

_REPLICATES = 200


@dataclass(frozen=True, slots=True)
class Trial:
    """Two models on one holdout.

    Attributes:
        truth: int64 [H], class of each holdout patient.
        real: float64 [H, K], probabilities by the model of training rows.
        made: float64 [H, K], by the model of the cohort.
    """

    truth: Index
    real: Array
    made: Array


def measure_utility(
    evidence: Evidence, rng: np.random.Generator, *, groups: tuple[str, ...], fewest: int, threshold: float
) -> dict[str, Score]:
    """Compares models of the cohort with models of training rows.

    Args:
        evidence: the three tables; the specification names the target.
        rng: seeds learners and draws replicates.
        groups: categorical columns whose values are sub-groups.
        fewest: holdout patients below which a sub-group is left out.
        threshold: least ratio of areas.

    Returns:
        "LEARNER" and "LEARNER, COLUMN = VALUE" → ratio; the baseline is the area of the real model. Passes when the
        lower end reaches the threshold, fails when the upper end does not.
    """
    problem = _problem(evidence)
    if problem:
        return {"utility": not_computed(problem)}
    found: dict[str, Score] = {}
    for name in LEARNERS:
        trial, kept = _try_learner(evidence, name, int(rng.integers(2**31)))
        for where, chosen in _groups(evidence, kept, groups, fewest):
            found[f"{name}{where}"] = _ratio(trial, chosen, rng, threshold=threshold)
    return found


def measure_fairness(
    evidence: Evidence, rng: np.random.Generator, *, groups: tuple[str, ...], fewest: int, slack: float
) -> dict[str, Score]:
    """Compares the gaps of equalised odds.

    Args:
        evidence: as for `measure_utility`.
        rng: seeds learners and draws replicates.
        groups: categorical columns that gaps are measured between.
        fewest: holdout patients below which a group is left out.
        slack: the most by which the cohort's model may widen the gap.

    Returns:
        "LEARNER, COLUMN" → how much wider; the baseline is the real model's gap.
    """
    problem = _problem(evidence) or ("" if groups else "the thresholds name no groups")
    if problem:
        return {"fairness": not_computed(problem)}
    found: dict[str, Score] = {}
    for name in LEARNERS:
        trial, kept = _try_learner(evidence, name, int(rng.integers(2**31)))
        for group in groups:
            members = [chosen for _, chosen in _groups(evidence, kept, (group,), fewest)][1:]
            found[f"{name}, {group}"] = _widening(trial, members, rng, slack=slack)
    return found


def _problem(evidence: Evidence) -> str:
    """Why nothing can be predicted; empty where it can."""
    target = evidence.spec.target
    if not target:
        return "the specification names no target"
    if not is_class(evidence.spec.by_name[target]):
        return f"the target {target!r} is no class"
    return ""


def _try_learner(evidence: Evidence, name: str, seed: int) -> tuple[Trial, Index]:
    """Both models of one learner, and which holdout rows have a target."""
    target = evidence.spec.names.index(evidence.spec.target)
    T = len(evidence.training)
    tables = (evidence.real_rows[:T], evidence.synthetic_rows)
    holdout = evidence.real_rows[T:]
    kept = np.flatnonzero(holdout[:, target] != MISSING)
    asked = holdout[kept]
    present = evidence.real_rows[evidence.real_rows[:, target] != MISSING, target]
    classes = np.unique(present).astype(np.float64)
    real, made = (
        predict_column(
            name,
            evidence.spec.columns,
            target,
            rows[rows[:, target] != MISSING],
            asked=asked,
            classes=classes,
            seed=seed,
        )
        for rows in tables
    )
    return Trial(np.searchsorted(classes, asked[:, target].astype(np.float64)), real, made), kept


def _groups(
    evidence: Evidence, kept: Index, columns: tuple[str, ...], fewest: int
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """All patients, then each sub-group that is large enough: its words and who is in it."""
    yield "", np.ones(len(kept), dtype=bool)
    for name in columns:
        column = evidence.spec.by_name.get(name)
        if column is None or column.kind not in LISTED:
            raise ValueError(f"groups names {name!r}, which is no column with categories in the specification")
        values = evidence.holdout[name].to_numpy()[kept]
        for category in column.categories:
            if int((values == category).sum()) >= fewest:
                yield f", {name} = {category}", values == category


def _ratio(trial: Trial, chosen: NDArray[np.bool_], rng: np.random.Generator, *, threshold: float) -> Score:
    members = np.flatnonzero(chosen)
    draws = np.array([_areas(trial, drawn) for drawn in _replicates(members, rng)])
    real, made = _areas(trial, members)
    if not np.isfinite(draws).all() or not (draws[:, 0].min() > 0 and real > 0):
        return not_computed(f"{len(members)} patients hold too few of a class")
    low, high = np.quantile(draws[:, 1] / draws[:, 0], [0.025, 0.975])
    verdict: Verdict = "pass" if low >= threshold else "fail" if high < threshold else "inconclusive"
    reason = f"{len(members)} patients: area {made:.3f} from the cohort, {real:.3f} from training rows"
    return Score(made / real, float(low), float(high), real, verdict, reason)


def _widening(trial: Trial, members: list[NDArray[np.bool_]], rng: np.random.Generator, *, slack: float) -> Score:
    if len(members) < 2:
        return not_computed("fewer than two groups are large enough")
    everybody = np.arange(len(trial.truth))
    of = np.full(len(trial.truth), -1)
    for position, chosen in enumerate(members):
        of[chosen] = position

    def gaps(drawn: Index) -> tuple[float, float]:
        real, made = (
            _odds_gap(trial.truth[drawn], p[drawn].argmax(axis=1), of[drawn]) for p in (trial.real, trial.made)
        )
        return real, made

    draws = np.array([gaps(drawn) for drawn in _replicates(everybody, rng)])
    real, made = gaps(everybody)
    low, high = np.quantile(draws[:, 1] - draws[:, 0], [0.025, 0.975])
    verdict: Verdict = "pass" if high <= slack else "fail" if low > slack else "inconclusive"
    reason = f"{len(members)} groups: gap {made:.3f} from the cohort, {real:.3f} from training rows"
    return Score(made - real, float(low), float(high), real, verdict, reason)


def _odds_gap(truth: Index, predicted: Index, group: Index) -> float:
    """The widest difference between groups in how often a class is predicted, given whether it is true."""
    widest = 0.0
    for k in np.unique(truth):
        for given in (truth == k, truth != k):
            rates = [
                float((predicted[given & (group == g)] == k).mean())
                for g in range(group.max() + 1)
                if (given & (group == g)).any()
            ]
            widest = max(widest, max(rates) - min(rates)) if rates else widest
    return widest


def _areas(trial: Trial, drawn: Index) -> tuple[float, float]:
    return class_area(trial.truth[drawn], trial.real[drawn]), class_area(trial.truth[drawn], trial.made[drawn])


def _replicates(members: Index, rng: np.random.Generator) -> Iterator[Index]:
    for _ in range(_REPLICATES):
        yield members[rng.integers(len(members), size=len(members))]
