"""Membership inference on a model: every attack on everybody, on outliers and on each group that is large enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy.audits.membership import lira_scores, loss_scores, rmia_scores
from privacy.audits.rates import area_under_curve, roc_points, tpr_at_fpr
from privacy.audits.record import Attack
from privacy.audits.verdict import judge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from privacy.audits.membership import References
    from privacy.audits.record import Estimate
    from privacy.audits.verdict import Promise

ATTACKS = ("loss", "rmia", "lira")  # from the simplest to the strongest: the last one asked for bears the verdict
RATES = (0.001, 0.01, 0.1)
VERDICT_RATE = 0.01


def score(name: str, losses: np.ndarray, references: References | None) -> np.ndarray:
    """Score patients by one attack: float64 [P], higher means "more likely a member".

    Args:
        name: one of `ATTACKS`.
        losses: float64 [P], under the model.
        references: of the same patients; needed by all but "loss".
    """
    if name == "loss":
        return loss_scores(losses)
    assert references is not None  # whoever asks for these attacks trains references
    chosen = {"rmia": rmia_scores, "lira": lira_scores}[name]
    return chosen(losses, references, online=True)


def attack_groups(
    scores: Mapping[str, np.ndarray], member: np.ndarray, groups: Mapping[str, np.ndarray], promise: Promise
) -> tuple[Attack, ...]:
    """Measure every attack on every group, each with intervals of 95 % by itself.

    Args:
        scores: float64 [P] by attack.
        member: bool [P].
        groups: bool [P] by name.
        promise: what each number is held against.
    """
    primary = strongest(tuple(scores))
    found = []
    for name, values in scores.items():
        for group, inside in groups.items():
            members, others = values[inside & member], values[inside & ~member]
            rates = {f"{fpr:g}": _judged_tpr(members, others, promise, fpr=fpr, confidence=0.95) for fpr in RATES}
            area = _judged_auc(members, others, promise, confidence=0.95)
            roc = roc_points(members, others)
            bears = name == primary and group == "all"
            found.append(Attack(name, group, len(members), len(others), rates, area, roc, bears_verdict=bears))
    return tuple(found)


def bearing(
    name: str, scores: np.ndarray, member: np.ndarray, promise: Promise, *, confidence: float
) -> dict[str, Estimate]:
    """Measure what the verdict rests on: the rate at 1 % false positives and the area, of one attack on everybody."""
    members, others = scores[member], scores[~member]
    return {
        f"{name}: tpr at {VERDICT_RATE:g}": _judged_tpr(
            members, others, promise, fpr=VERDICT_RATE, confidence=confidence
        ),
        f"{name}: auc": _judged_auc(members, others, promise, confidence=confidence),
    }


def strongest(names: Sequence[str]) -> str:
    """Name the attack that bears the verdict: decided by what was asked for, never by what was found."""
    return max(names, key=ATTACKS.index)


def _judged_tpr(
    members: np.ndarray, others: np.ndarray, promise: Promise, *, fpr: float, confidence: float
) -> Estimate:
    return judge(tpr_at_fpr(members, others, fpr=fpr, confidence=confidence), allowed=promise.allows_tpr(fpr))


def _judged_auc(members: np.ndarray, others: np.ndarray, promise: Promise, *, confidence: float) -> Estimate:
    estimate = area_under_curve(members, others, confidence=confidence)
    return judge(estimate, allowed=promise.allows_auc())
