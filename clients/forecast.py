"""What a study would cost a hospital's patients, answered before a patient is read and before anything is reserved."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from clients.admission import Plan, cohort_patients, plan, public_patients
from clients.policy import PolicyRefusal, admit_cohort, admit_study
from privacy.accounting import PoissonGaussian, certify, epsilon
from privacy.budget import PATIENT, check_unit, committed
from privacy.ledger import Ledger

if TYPE_CHECKING:
    from clients.hospital import Hospital
    from study.protocol import Study

MOST_ROUNDS = 100_000  # beyond it the answer is "more than anyone runs"


@dataclass(frozen=True, slots=True)
class Cost:
    """Epsilons at the study's delta; they do not add up, each is a composition."""

    alone: float  # of the whole study by itself
    charged: float  # of what all earlier runs released
    promised: float  # the same with what open reservations may still charge
    together: float  # of the promised and the study
    rounds_that_fit: int  # under the ceiling beside the promised, at most `MOST_ROUNDS`


@dataclass(frozen=True, slots=True)
class Forecast:
    """A hospital's answer to a study, for its own people: it holds counts that need not leave."""

    hospital: str
    patients: int  # counted; the plan's may be declared
    plan: Plan
    ceiling: float
    cost: Cost | None  # None without differential privacy
    refusal: str | None  # why the study would be refused; None where it would be admitted

    @property
    def left(self) -> float | None:
        """What the ceiling leaves after the study."""
        return None if self.cost is None else max(self.ceiling - self.cost.together, 0.0)


def forecast(study: Study, hospital: Hospital) -> Forecast:
    """Work out a study's cost at a hospital from its policy, its metadata and its ledger; nothing is written.

    Raises:
        ValueError: the training split is empty, or no noise meets the study's epsilon.
        privacy.ledger.LedgerCorrupt: the ledger does not verify.
        privacy.ledger.WrongUnit: the ledger is kept for hospitals, not for patients.
        privacy.accounting.AccountantsDisagree: the cost cannot be certified.
    """
    patients = cohort_patients(study, hospital)
    if patients == 0:
        where = "table" if study.synthesises else "training split"
        raise ValueError(f"hospital {hospital.name} has no patient in its {where}")
    planned = plan(study, public_patients(study, hospital))
    refusal = _refusal(study, hospital, patients)
    events = list(planned.reservations(study, "forecast").values())
    one_round = planned.event(rounds=1)
    ceiling = hospital.policy.epsilon_ceiling
    if one_round is None:
        return Forecast(hospital.name, patients, planned, ceiling, None, refusal)
    charged, promised = (_committed(hospital, reserved=reserved) for reserved in (False, True))
    delta = study.privacy.delta
    cost = Cost(
        alone=certify(events, delta=delta),
        charged=certify(charged, delta=delta),
        promised=certify(promised, delta=delta),
        together=certify([*promised, *events], delta=delta),
        rounds_that_fit=_rounds_that_fit([*promised, *events[1:]], one_round, delta=delta, ceiling=ceiling),
    )
    if refusal is None and cost.together > ceiling:
        refusal = f"the privacy ledger has no room: together epsilon {cost.together:.4g}, ceiling {ceiling:g}"
    return Forecast(hospital.name, patients, planned, ceiling, cost, refusal)


def _refusal(study: Study, hospital: Hospital, patients: int) -> str | None:
    try:
        admit_study(hospital.policy, study)
        admit_cohort(hospital.policy, study, patients)
    except PolicyRefusal as refusal:
        return str(refusal)
    return None


def _committed(hospital: Hospital, *, reserved: bool) -> list[PoissonGaussian]:
    """What the ledger holds; a hospital without a ledger has promised nothing, and none is made for asking."""
    try:
        with Ledger.open(hospital.ledger, create=False) as ledger:
            entries = ledger.entries()
            check_unit(entries, PATIENT)
            return committed(entries, reserved=reserved)
    except FileNotFoundError:
        return []


def _rounds_that_fit(
    already: list[PoissonGaussian], one_round: PoissonGaussian, *, delta: float, ceiling: float
) -> int:
    def fits(rounds: int) -> bool:
        return epsilon([*already, replace(one_round, steps=one_round.steps * rounds)], delta=delta) <= ceiling

    low, high = 0, 1
    while high <= MOST_ROUNDS and fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return min(low, MOST_ROUNDS)
