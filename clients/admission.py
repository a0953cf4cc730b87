"""Admission: may this study run here, and what will it cost the patients, answered before one of them is read.

The order is the point: policy first, then sizes from metadata, then the ledger. Only then are records opened.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from clients.policy import PolicyRefusal
from privacy.accounting import PoissonGaussian, accountant_of, certify, noise_multiplier_for
from privacy.ledger import BudgetExhausted, Ledger
from privacy.statement import PrivacyStatement

if TYPE_CHECKING:
    from clients.hospital import Hospital
    from study.protocol import Study

NOT_COVERED = (
    "code counts of the vocabulary",
    "patients per hospital",
    "metrics, thresholds and their intervals",
    "the choice of settings by earlier runs",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """How a hospital of a known size runs a study: sampling, steps and, where asked, noise."""

    patients: int  # of the training split
    sampling_rate: float  # probability with which a patient is in one step
    steps: int  # a round
    noise_multiplier: float | None  # None without differential privacy

    def event(self, *, rounds: int) -> PoissonGaussian | None:
        """Return what ``rounds`` rounds release, or None without differential privacy."""
        if self.noise_multiplier is None:
            return None
        return PoissonGaussian(self.sampling_rate, self.noise_multiplier, self.steps * rounds)

    def as_dict(self) -> dict[str, float | None]:
        """Return the plan for the run's record."""
        return {
            "sampling_rate": self.sampling_rate,
            "steps_per_round": self.steps,
            "noise_multiplier": self.noise_multiplier,
        }


def admit(study: Study, hospital: Hospital, *, run: str) -> Plan:
    """Decide whether the hospital takes part, and reserve the study's whole cost on its ledger.

    Guarantee:
        When this returns, the study's terms are within the site's policy and its whole privacy cost is reserved,
        so no later round can pass the ceiling; nothing but metadata was read.

    Raises:
        PolicyRefusal: policy, cohort size or ledger forbid it; the message is fit to leave the hospital.
    """
    hospital.policy.admit(study)
    patients = training_patients(hospital)
    hospital.policy.admit_patients(study, patients)
    planned = plan(study, patients)
    event = planned.event(rounds=study.federation.rounds)
    if event is not None:
        _reserve(study, hospital, event, run)
    return planned


def training_patients(hospital: Hospital) -> int:
    """Count the patients of the training split, from metadata alone."""
    from clinical.events import read_splits

    return Counter(read_splits(hospital.path).values())["train"]


def plan(study: Study, patients: int) -> Plan:
    """Work out steps and noise for a training split of ``patients``.

    The noise multiplier is calibrated here, per hospital, because the sampling rate is: a hospital with fewer
    patients draws each of them more often and needs more noise for the same epsilon.
    """
    rate = min(1.0, study.training.batch_patients / patients)
    steps = max(1, round(study.training.local_epochs / rate))
    if not study.privacy.wanted:
        return Plan(patients, rate, steps, None)
    noise = noise_multiplier_for(
        study.privacy.epsilon,
        delta=study.privacy.delta,
        sampling_rate=rate,
        steps=steps * study.federation.rounds,
    )
    return Plan(patients, rate, steps, noise)


def charge(hospital: Hospital, planned: Plan, *, run: str) -> None:
    """Charge one round to the ledger, before its update exists.

    Raises:
        BudgetExhausted: the run has no reservation left, so the round must not happen.
    """
    event = planned.event(rounds=1)
    if event is not None:
        with Ledger.open(hospital.ledger) as ledger:
            ledger.charge(run, event)


def settle(study: Study, hospital: Hospital, *, run: str) -> dict[str, Any]:
    """Close the run's reservation to what was charged.

    Returns:
        The privacy statement of this run at this hospital, and what the ledger holds over all runs.
    """
    planned = plan(study, training_patients(hospital))
    if planned.noise_multiplier is None:
        return {"statement": asdict(PrivacyStatement.none(steps=0)), "ledger": None}
    with Ledger.open(hospital.ledger) as ledger:
        ledger.settle(run)
        reservation = ledger.reservation(run)
        total = ledger.spent(delta=study.privacy.delta, include_reserved=True)
        head = ledger.head
    assert reservation is not None  # `settle` refuses a run it does not know
    spent = replace(reservation.event, steps=reservation.charged_steps)
    cost = certify([spent], delta=study.privacy.delta)
    statement = PrivacyStatement(
        epsilon=cost,
        delta=study.privacy.delta,
        sampling_rate=spent.sampling_rate,
        noise_multiplier=spent.noise_multiplier,
        clip_norm=study.privacy.clip_norm,
        steps=spent.steps,
        not_covered=NOT_COVERED,
        reproducible_noise=study.privacy.reproducible_noise,
        accountant=accountant_of(cost),
    )
    ledger_says = {"epsilon_all_runs": total, "ceiling": hospital.policy.epsilon_ceiling, "head": head}
    return {"statement": asdict(statement), "ledger": ledger_says}


def _reserve(study: Study, hospital: Hospital, event: PoissonGaussian, run: str) -> None:
    try:
        with Ledger.open(hospital.ledger) as ledger:
            ledger.reserve(
                run,
                event,
                delta=study.privacy.delta,
                epsilon_ceiling=hospital.policy.epsilon_ceiling,
                study_digest=study.digest(),
                purpose=study.study.name,
            )
    except BudgetExhausted as exhausted:
        raise PolicyRefusal(f"the privacy ledger has no room: {exhausted}") from None
