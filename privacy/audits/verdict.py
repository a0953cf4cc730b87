"""Claim against evidence: fail, pass or inconclusive, and what an audit of this size could have seen at all.

What (epsilon, delta)-privacy allows an attacker is a region under a line, so an epsilon is a bound on rates and areas;
evidence whose whole interval lies beyond it contradicts the claim. Evidence within it contradicts nothing, which is
worth something only if a breach would have shown. So an instrument (an attack on patients, an audit of canaries) is
tried on planted worlds first: it has to catch a model that memorised and to spare one that knows nobody.

Source: Kairouz, Oh & Viswanath 2015 (arXiv 1311.0776) for the region; it bounds every test, hence every threshold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from privacy.audits.record import Estimate, Verdict


@dataclass(frozen=True, slots=True)
class Promise:
    """What is claimed for one patient: epsilon at delta, or nothing (None): then chance is all that is allowed."""

    epsilon: float | None
    delta: float = 0.0

    def __post_init__(self) -> None:
        if self.epsilon is not None and not (self.epsilon >= 0 and math.isfinite(self.epsilon)):
            raise ValueError(f"epsilon must be finite and >= 0, or None where nothing is promised, got {self.epsilon}")
        if not 0 <= self.delta < 1:
            raise ValueError(f"delta must lie in [0, 1), got {self.delta}")

    def allows_tpr(self, fpr: float) -> float:
        """Returns the highest true-positive rate at a false-positive rate that the promise allows."""
        if self.epsilon is None:
            return fpr
        grows = math.exp(min(self.epsilon, 700.0))
        return min(1.0, grows * fpr + self.delta, 1 - (1 - self.delta - fpr) / grows)

    def allows_auc(self) -> float:
        """Returns the highest area under the ROC curve that the promise allows."""
        if self.epsilon is None:
            return 0.5
        return 1 - (1 - self.delta) ** 2 / (1 + math.exp(min(self.epsilon, 700.0)))

    def allows_epsilon(self) -> float:
        """Returns the highest lower bound on epsilon that does not contradict the promise."""
        return 0.0 if self.epsilon is None else self.epsilon


def judge(estimate: Estimate, *, allowed: float) -> Estimate:
    """Holds one estimate against what is allowed.

    Returns:
        The estimate with `allowed` and its verdict: fail where the interval lies above, inconclusive where a perfect
        attacker's would not have, else pass.
    """
    verdict: Verdict = "pass"
    if estimate.low > allowed:
        verdict = "fail"
    elif estimate.reach is None or estimate.reach <= allowed:
        verdict = "inconclusive"
    return replace(estimate, allowed=allowed, verdict=verdict)


@dataclass(frozen=True, slots=True)
class Instrument:
    """One way of looking, its judged evidence, and how it did on planted worlds.

    Attributes:
        name: in words.
        evidence: estimates that have been judged, at a confidence corrected for their number over all instruments.
        catches: whether it found a planted leak of the same size to fail.
        spares: whether it found a model that knows nobody not to fail.
    """

    name: str
    evidence: tuple[Estimate, ...]
    catches: bool
    spares: bool

    @property
    def verdict(self) -> Verdict:
        """What this instrument says; one that accuses the innocent says nothing."""
        found = {estimate.verdict for estimate in self.evidence}
        if not self.spares:
            return "inconclusive"
        if "fail" in found:
            return "fail"
        return "pass" if self.catches and "pass" in found else "inconclusive"


def conclude(instruments: Iterable[Instrument]) -> Verdict:
    """Takes the gravest verdict: one instrument that contradicts is enough; else one with power has to be silent."""
    found = {instrument.verdict for instrument in instruments}
    if "fail" in found:
        return "fail"
    return "pass" if "pass" in found else "inconclusive"


def corrected(tests: int, *, confidence: float = 0.95) -> float:
    """Returns the confidence of each of several tests with which all together are right so often (Bonferroni)."""
    if tests < 1:
        raise ValueError(f"tests must be at least 1, got {tests}")
    return 1 - (1 - confidence) / tests


def implied_epsilon(*, tpr: float, fpr: float, delta: float) -> float:
    """Returns the least epsilon that allows a pair of rates, >= 0; infinity where none does."""
    bounds = [0.0]
    for gained, risked in ((tpr - delta, fpr), (1 - delta - fpr, 1 - tpr)):
        if gained > 0:
            bounds.append(math.log(gained / risked) if risked > 0 else math.inf)
    return max(bounds)


def implied_epsilon_of_area(area: float, *, delta: float) -> float:
    """Returns the least epsilon that allows an area under the ROC curve, >= 0; infinity for 1."""
    if area >= 1:
        return math.inf
    grows = (1 - delta) ** 2 / (1 - area) - 1
    return math.log(grows) if grows > 1 else 0.0


def detectable_epsilon(reaches: Sequence[tuple[str, float]], *, delta: float) -> float:
    """Returns the highest epsilon lower bound that perfect attackers could have shown.

    Args:
        reaches: pairs of what is measured ("epsilon", "auc", or a false-positive rate as text) and its reach.
        delta: of the claim.
    """
    best = 0.0
    for kind, reach in reaches:
        if kind == "epsilon":
            found = reach
        elif kind == "auc":
            found = implied_epsilon_of_area(reach, delta=delta)
        else:
            found = implied_epsilon(tpr=reach, fpr=float(kind), delta=delta)
        best = max(best, found)
    return best
