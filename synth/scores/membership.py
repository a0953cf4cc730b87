"""Membership attacks on a cohort: who, holding a patient's record, can tell that it trained the generator?

Three attackers with ever more in hand. *Distance* looks how close the nearest synthetic row is. *Density* compares the
cohort's density at the record with that of real patients, since close means little where everybody is close (DOMIAS
with nearest-neighbour densities). *Reference* holds real records from the same hospital that did not train, and learns
to tell them from synthetic rows (the discriminator of LOGAN, with the cohort in the place of the generator).

Each is judged by how many members it finds at one percent of false accusations, and by the area under its ROC curve,
over all patients and over those farthest from all others: these are whom a generator memorises. Which patients lie
far is decided without knowing who trained.

Source: van Breugel et al. 2023 (arXiv 2302.12580, DOMIAS); Hayes et al. 2019 (arXiv 1705.07663, LOGAN);
Carlini et al. 2022 (arXiv 2112.03570) for rates at few false positives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from privacy.audits.rates import area_under_curve, tpr_at_fpr
from synth.neighbours import nearest, nearest_others
from synth.scores.score import Score, at_most, not_computed

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from synth.evidence import Evidence

    Scores = NDArray[np.float64]

FPR = 0.01
_NEIGHBOURS = 5
_OUTLIER_SHARE, _FEWEST_OUTLIERS = 0.1, 1000  # of the real rows; fewer would bound no area
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an attack may reach, and how sure a failure has to be.

    Attributes:
        tpr: true-positive rate at one percent of false positives.
        auc: area under the ROC curve over all patients.
        outlier_auc: the same over those farthest from others, who are fewer.
        corrected: confidence of a failure, corrected for the number of checks.
    """

    tpr: float
    auc: float
    outlier_auc: float
    corrected: float


def attack_by_distance(evidence: Evidence, rng: np.random.Generator) -> Scores:
    """Scores real rows by how close the nearest synthetic row is, float64 [T + H]; NaN is who was not attacked."""
    del rng
    return -evidence.reach.astype(np.float64)


def attack_by_density(evidence: Evidence, rng: np.random.Generator) -> Scores:
    """Scores real rows by the cohort's density there over the density of other real rows."""
    del rng
    k = min(_NEIGHBOURS, len(evidence.synthetic_rows))
    made = nearest(evidence.real_rows, evidence.synthetic_rows, k=k).distance.astype(np.float64)
    real = nearest_others(evidence.real_rows, k=k).distance.astype(np.float64)
    slack = evidence.tolerance / 2
    ratio: Scores = np.log(real + slack).mean(axis=1) - np.log(made + slack).mean(axis=1)
    return ratio


def attack_by_reference(evidence: Evidence, rng: np.random.Generator) -> Scores:
    """Scores training rows and half the holdout by a classifier of synthetic rows against the other half."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    T, N = len(evidence.training), len(evidence.real_rows)
    known = T + rng.permutation(N - T)[: (N - T) // 2]
    rows = np.concatenate([evidence.synthetic_rows, evidence.real_rows[known]])
    made = np.arange(len(rows)) < len(evidence.synthetic_rows)
    weights = np.where(made, 0.5 / made.sum(), 0.5 / (~made).sum()) * len(rows)
    model = HistGradientBoostingClassifier(
        max_iter=60, max_leaf_nodes=15, early_stopping=False, random_state=int(rng.integers(2**31))
    )
    scores: Scores = model.fit(rows, made, sample_weight=weights).predict_proba(evidence.real_rows)[:, 1]
    scores[known] = np.nan
    return scores


ATTACKS: dict[str, Callable[[Evidence, np.random.Generator], Scores]] = {
    "distance": attack_by_distance,
    "density": attack_by_density,
    "reference": attack_by_reference,
}
CHECKS = 3 * len(ATTACKS)  # rate and area over all, area over outliers


def attack_membership(
    evidence: Evidence, rng: np.random.Generator, limits: Limits, *, attacks: tuple[str, ...] = tuple(ATTACKS)
) -> dict[str, Score]:
    """Runs membership attacks and holds each to the limits.

    Args:
        evidence: the three tables.
        rng: forked for each attack, so that one more attack changes no other.
        limits: what is allowed.
        attacks: names of `ATTACKS`.

    Returns:
        "ATTACK, rate | area | area, outliers" → score. Where there are too few patients to bound a rate the
        interval says so, and the score is inconclusive.
    """
    found: dict[str, Score] = {}
    outliers = outlying(evidence)
    for name, fork in zip(attacks, rng.spawn(len(attacks)), strict=True):
        scores = ATTACKS[name](evidence, fork)
        for measure, group, limit in (
            ("rate", np.ones_like(outliers), limits.tpr),
            ("area", np.ones_like(outliers), limits.auc),
            ("area, outliers", outliers, limits.outlier_auc),
        ):
            chosen = group & ~np.isnan(scores)
            inside, outside = scores[chosen & evidence.member], scores[chosen & ~evidence.member]
            found[f"{name}, {measure}"] = _judge(
                inside, outside, measure=measure, limit=limit, corrected=limits.corrected
            )
    return found


def outlying(evidence: Evidence) -> NDArray[np.bool_]:
    """Marks the real rows farthest from any other real row: a tenth, or as many as bound an area, bool [T + H]."""
    N = len(evidence.spacing)
    count = max(round(_OUTLIER_SHARE * N), min(_FEWEST_OUTLIERS, N // 4))
    marked = np.zeros(N, dtype=np.bool_)
    marked[np.argsort(-evidence.spacing, kind="stable")[:count]] = True
    return marked


def _judge(inside: Scores, outside: Scores, *, measure: str, limit: float, corrected: float) -> Score:
    """One number of one attack on one group."""
    if min(len(inside), len(outside)) < 2:
        return not_computed("fewer than two members or non-members in the group")
    reason = f"{len(inside)} members, {len(outside)} others; at most {limit:g} is allowed"
    if measure == "rate":
        sure, surer = (tpr_at_fpr(inside, outside, fpr=FPR, confidence=c) for c in (_CONFIDENCE, corrected))
    else:
        sure, surer = (area_under_curve(inside, outside, confidence=c) for c in (_CONFIDENCE, corrected))
    return at_most(sure, surer, threshold=limit, reason=reason)
