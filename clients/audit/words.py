"""What an audit found, in sentences that mean no more than the numbers they name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privacy.audits.rates import non_members_needed
from privacy.audits.verdict import corrected

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clients.audit.conduct import Order
    from privacy.audits.record import Claim, Evidence, SelfTest, Verdict
    from privacy.audits.verdict import Promise

LIMITS = (
    "An audit can contradict a promise and can never prove one: a better attack may find more.",
    "Membership inference asks who was in the training split of the audited hospitals, and says nothing of others.",
    "Its intervals take patients as independent given the model; the bound from canaries does not need that.",
    "Counts, metrics and thresholds that left beside the models are not attacked here.",
    "Sub-groups are described, each by itself; the verdict rests on all patients and on the canaries alone.",
)


_UNTRIED = "Nothing was planted in this run and no update inverted: both need notes, and this task has stays."


def limits(family: str) -> tuple[str, ...]:
    """Say what an audit of a family's task cannot show."""
    return (*LIMITS, _UNTRIED) if family == "prediction" else LIMITS


def explain(
    verdict: Verdict, claim: Claim, promise: Promise, evidence: Sequence[Evidence], self_test: SelfTest
) -> tuple[str, tuple[str, ...]]:
    """Say the verdict in one sentence and its reasons in further ones, the gravest first."""
    promised = (
        "nothing"
        if claim.epsilon is None
        else f"epsilon {claim.epsilon:.3g} at delta {claim.delta:.1g} for every patient"
    )
    reach = f"epsilon {self_test.detectable_epsilon:.3g}"
    nothing = claim.epsilon is None
    contradicted = (
        "and the audit contradicts it" if not nothing else "and its model gives away whose records trained it"
    )
    silent = "The attacks tell members no better than chance." if nothing else f"It could have shown up to {reach}."
    statement = {
        "fail": f"The run promises {promised}, {contradicted}.",
        "pass": f"The run promises {promised}, and this audit does not contradict it. {silent}",
        "inconclusive": f"The run promises {promised}, and this audit can say neither yes nor no.",
    }[verdict]
    return statement, tuple(_reasons(claim, evidence, self_test, promise))


def method(order: Order, tests: int) -> tuple[str, ...]:
    """Say how it was done."""
    confidence = corrected(tests)
    needed = non_members_needed(fpr=0.01, confidence=confidence)
    attacks = (
        f"Attacks: {', '.join(order.attacks)}, with {order.references} reference models, each trained without noise"
    )
    rates = (
        "Rates: the threshold is read off non-members and its uncertainty is paid for; bounds are exact binomial ones."
    )
    return (
        f"{attacks} on a random half of the audited patients.",
        f"{rates} At 1 % false positives the lower end is above 0 only from {needed} non-members on.",
        "Areas under curves: DeLong's interval on the logit scale.",
        f"The verdict rests on {tests} tests, each at confidence {confidence:.4g}: at most 1 true promise in 20 fails.",
        "Canaries: thresholds on a random third, guesses on the others (Steinke, Nasr & Jagielski 2023).",
    )


def _reasons(claim: Claim, evidence: Sequence[Evidence], self_test: SelfTest, promise: Promise) -> list[str]:
    said = []
    for each in sorted(evidence, key=lambda one: ("fail", "pass", "inconclusive").index(one.verdict)):
        if each.instrument == "ledger":
            said.append("A hospital's ledger was charged for more than the run states.")
            continue
        numbers = "; ".join(
            f"{name} {_number(estimate.value)}, at least {estimate.low:.3g}, allowed {_number(estimate.allowed)}"
            for name, estimate in each.estimates.items()
        )
        said.append(f"{each.instrument.capitalize()}: {each.verdict} ({numbers}).")
    said += [f"Self-test failed: {check.name}: {check.detail}." for check in self_test.checks if not check.passed]
    if claim.epsilon is not None and self_test.detectable_epsilon <= promise.allows_epsilon():
        said.append(
            f"Too few patients and canaries: even a perfect attack could have shown only epsilon "
            f"{self_test.detectable_epsilon:.3g}, and {claim.epsilon:.3g} is promised. Plant more canaries "
            "(privacy.canaries) or audit more hospitals together."
        )
    missing = [name for name, extract in claim.ledgers.items() if extract["head"] is None]
    if missing and claim.epsilon is not None:
        said.append(f"No ledger was found for {', '.join(missing)}: the statement was not checked against it.")
    if claim.canaries:
        said.append(f"The run planted {claim.canaries} canaries at each hospital; they cost some accuracy.")
    return said


def _number(value: float | None) -> str:
    return "anything" if value is None else f"{value:.3g}"
