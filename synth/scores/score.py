"""One score: a value, its interval, what somebody who sees no synthetic row would reach, and a verdict.

A cohort passes a check when the interval leaves no room for a breach, and fails when it leaves no room for innocence;
in between the measurement does not decide. The two ends are taken at different confidences, for they are combined in
different ways. Release demands that *every* check passes, so each pass stands at its own 95 % and their number changes
nothing; one failure among many checks refuses, so a failure is judged at a confidence corrected for their number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privacy.audits.record import Estimate, Verdict


@dataclass(frozen=True, slots=True)
class Score:
    """One measured number with what is needed to read it.

    Attributes:
        value: the point estimate; None where it could not be computed.
        low: lower end of its interval, at the confidence of a pass.
        high: upper end.
        baseline: the same number for a holdout, a chance guess or the real table; None where there is none.
        verdict: against the threshold it was held to.
        reason: one sentence, for a reader who sees nothing else; never a cell.
    """

    value: float | None
    low: float | None
    high: float | None
    baseline: float | None
    verdict: Verdict
    reason: str = ""


def not_computed(reason: str) -> Score:
    """A check that could not be carried out; it says nothing, so it lets nothing pass."""
    return Score(None, None, None, None, "inconclusive", reason)


def at_most(estimate: Estimate, corrected: Estimate, *, threshold: float, reason: str = "") -> Score:
    """Holds a risk to the most that is allowed.

    Args:
        estimate: at the confidence of a pass.
        corrected: the same number at the confidence corrected for the number of checks.
        threshold: passes when the first interval lies at or below it, fails when the second lies above it.
        reason: what the number is.
    """
    verdict: Verdict = "pass" if estimate.high <= threshold else "fail" if corrected.low > threshold else "inconclusive"
    return Score(estimate.value, estimate.low, estimate.high, estimate.baseline, verdict, reason)


def described(value: float, low: float, high: float, *, baseline: float | None, reason: str = "") -> Score:
    """A number that is shown and never judged: it passes nothing and refuses nothing."""
    return Score(value, low, high, baseline, "inconclusive", reason or "described, not judged")


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict of several that must all pass; of none at all it is inconclusive."""
    if "fail" in verdicts:
        return "fail"
    return "pass" if verdicts and all(verdict == "pass" for verdict in verdicts) else "inconclusive"


def finite(number: float | None) -> float | None:
    """A number for JSON, which knows no infinity: what nothing bounds is None."""
    return number if number is not None and math.isfinite(number) else None
