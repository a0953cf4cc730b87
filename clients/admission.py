"""Admission: may this study run here, and what will it cost the patients, answered before one of them is read.

The order is the point: policy first, then sizes from metadata, then the ledger. Only then are records opened.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from clients.policy import PolicyRefusal, admit_cohort, admit_study
from clinical.tasks import family_of
from privacy.accounting import PoissonGaussian, accountant_of, certify, noise_multiplier_for
from privacy.ledger import BudgetExhausted, Ledger, WrongUnit
from privacy.statement import PrivacyStatement

if TYPE_CHECKING:
    from clients.hospital import Hospital
    from study.protocol import Study

COUNTS = {
    "coding": ("code counts of the vocabulary", "metrics, thresholds and their intervals"),
    "prediction": ("metrics, calibration, sub-groups and their intervals",),
    "synthesis": (),
}
SIZE = "patients per hospital"
CHOICE = "the choice of settings by earlier runs"
ELSEWHERE = "what the same patient's rows at another hospital cost"


@dataclass(frozen=True, slots=True)
class Plan:
    """How a hospital of a known size runs a study: sampling, steps and, where asked, noise."""

    patients: int  # of the training split, as the site's policy declares them or counted
    sampling_rate: float  # probability with which a patient is in one step
    steps: int  # a round
    noise_multiplier: float | None  # None without differential privacy
    release_noise: float | None  # of counts and metrics; None where they leave without noise

    def event(self, *, rounds: int) -> PoissonGaussian | None:
        """Return what ``rounds`` rounds of training release, or None without differential privacy."""
        if self.noise_multiplier is None:
            return None
        return PoissonGaussian(self.sampling_rate, self.noise_multiplier, self.steps * rounds)

    def release_event(self, *, releases: int) -> PoissonGaussian | None:
        """Return what ``releases`` noised counts or metrics cost, or None where they leave without noise."""
        return None if self.release_noise is None else PoissonGaussian(1.0, self.release_noise, releases)

    def reservations(self, study: Study, run: str) -> dict[str, PoissonGaussian]:
        """Return what the whole study costs here, by the run it is reserved for on the ledger."""
        wanted = {
            run: self.event(rounds=study.charges),
            releases_of(run): self.release_event(releases=study.releases),
        }
        return {name: event for name, event in wanted.items() if event is not None}

    def as_dict(self) -> dict[str, float | None]:
        """Return the plan for the run's record."""
        return {
            "sampling_rate": self.sampling_rate,
            "steps_per_round": self.steps,
            "noise_multiplier": self.noise_multiplier,
            "release_noise": self.release_noise,
        }


def releases_of(run: str) -> str:
    """Name the ledger's account for a run's counts and metrics, beside the one for its training."""
    return f"{run}/releases"


def admit(study: Study, hospital: Hospital, *, run: str) -> Plan:
    """Decide whether the hospital takes part, and reserve the study's whole cost on its ledger.

    Guarantee:
        When this returns, the study's terms are within the site's policy and its whole privacy cost is reserved,
        so no later round can pass the ceiling; nothing but metadata was read.

    Raises:
        PolicyRefusal: policy, cohort size or ledger forbid it; the message is fit to leave the hospital.
    """
    admit_study(hospital.policy, study, application=hospital.application)
    admit_cohort(hospital.policy, study, cohort_patients(study, hospital))
    planned = plan(study, public_patients(study, hospital))
    _reserve(study, hospital, planned.reservations(study, run))
    return planned


def withdraw(hospital: Hospital, planned: Plan, study: Study, *, run: str) -> None:
    """Give back what a study has reserved and not charged, because the hospital takes no part after all.

    A hospital without the task's labels finds that out only after the reservation; kept, it would use up the ceiling
    for nothing.
    """
    wanted = planned.reservations(study, run)
    if not wanted:
        return
    with Ledger.open(hospital.ledger) as ledger:
        for account in wanted:
            ledger.settle(account)


def cohort_patients(study: Study, hospital: Hospital) -> int:
    """Count the patients of the training split, from metadata alone, or of a synthesis' table, by its key alone."""
    if study.synthesises:
        from synth.hospital_table import count_hospital

        return count_hospital(hospital.path, study.synthesis.spec)
    from clinical.events import count_split

    return count_split(hospital.path, "train")


def public_patients(study: Study, hospital: Hospital) -> int:
    """Return the size of the cohort that all plans rest on: what site policy declares, else the true one.

    Guarantee:
        With a declared size rates, steps, noise, denominators and weights are the same whoever is in the cohort.
    """
    return hospital.policy.declared_patients or cohort_patients(study, hospital)


def plan(study: Study, patients: int) -> Plan:
    """Work out steps and noise for a cohort of ``patients``.

    The noise multiplier is calibrated here, per hospital, because the sampling rate is: a hospital with fewer
    patients draws each of them more often and needs more noise for the same epsilon. Counts are of all patients, so
    their noise is the same at every hospital.
    """
    if study.measures:
        noise = noise_multiplier_for(
            study.privacy.epsilon, delta=study.privacy.delta, sampling_rate=1.0, steps=study.charges
        )
        return Plan(patients, 1.0, 1, noise, None)
    rate = min(1.0, study.training.batch_patients / patients)
    steps = max(1, round(study.training.local_epochs / rate))
    if not study.privacy.wanted:
        return Plan(patients, rate, steps, None, None)
    delta = study.privacy.delta
    planned = Plan(patients, rate, steps, None, None)
    if study.privacy.covers_releases:
        release_noise = noise_multiplier_for(
            study.privacy.releases_epsilon, delta=delta, sampling_rate=1.0, steps=study.releases
        )
        planned = replace(planned, release_noise=release_noise)
    beside = planned.release_event(releases=study.releases)
    noise = noise_multiplier_for(
        study.privacy.epsilon,
        delta=delta,
        sampling_rate=rate,
        steps=steps * study.charges,
        beside=() if beside is None else (beside,),
    )
    return replace(planned, noise_multiplier=noise)


def charge(hospital: Hospital, planned: Plan, *, run: str) -> None:
    """Charge one round to the ledger, before its update exists.

    Raises:
        ValueError: the run has no reservation left, so the round must not happen.
    """
    _charge(hospital, run, planned.event(rounds=1))


def charge_release(hospital: Hospital, planned: Plan, *, run: str) -> None:
    """Charge one noised count or metric to the ledger, before it exists.

    Raises:
        ValueError: the run has no reservation left, so nothing may be released.
    """
    _charge(hospital, releases_of(run), planned.release_event(releases=1))


def _charge(hospital: Hospital, account: str, event: PoissonGaussian | None) -> None:
    if event is not None:
        with Ledger.open(hospital.ledger) as ledger:
            ledger.charge(account, event)


def settle(study: Study, hospital: Hospital, *, run: str) -> dict[str, Any]:
    """Close the run's reservation to what was charged.

    Returns:
        The privacy statement of this run at this hospital, and what the ledger holds over all runs.
    """
    planned = plan(study, public_patients(study, hospital))
    if planned.noise_multiplier is None:
        return {"statement": asdict(PrivacyStatement.none(steps=0)), "ledger": None}
    spent: dict[str, PoissonGaussian] = {}
    with Ledger.open(hospital.ledger) as ledger:
        for account in planned.reservations(study, run):
            ledger.settle(account)
            known = ledger.reservation(account)
            assert known is not None  # `settle` refuses an account it does not know
            spent[account] = replace(known.event, steps=known.charged_steps)
        total = ledger.spent(delta=study.privacy.delta, include_reserved=True)
        head = ledger.head
    ledger_says = {"epsilon_all_runs": total, "ceiling": hospital.policy.epsilon_ceiling, "head": head}
    statement = _statement(study, planned, spent, run, _not_covered(study, hospital))
    return {"statement": asdict(statement), "ledger": ledger_says}


def _not_covered(study: Study, hospital: Hospital) -> tuple[str, ...]:
    """Name what leaves beside what epsilon speaks of."""
    counts = () if study.privacy.covers_releases else COUNTS[family_of(study.task.name)]
    size = () if hospital.policy.declared_patients else (SIZE,)
    elsewhere = (ELSEWHERE,) if study.synthesises else ()
    return (*counts, *size, CHOICE, *elsewhere)


def _statement(
    study: Study, planned: Plan, spent: dict[str, PoissonGaussian], run: str, not_covered: tuple[str, ...]
) -> PrivacyStatement:
    cost = certify(spent.values(), delta=study.privacy.delta)
    released = spent.get(releases_of(run))
    return PrivacyStatement(
        epsilon=cost,
        delta=study.privacy.delta,
        sampling_rate=spent[run].sampling_rate,
        noise_multiplier=spent[run].noise_multiplier,
        clip_norm=_clip_norm(study),
        steps=spent[run].steps,
        not_covered=not_covered,
        releases=released.steps if released else 0,
        release_noise=planned.release_noise,
        reproducible_noise=study.privacy.reproducible_noise,
        accountant=accountant_of(cost),
    )


def _clip_norm(study: Study) -> float:
    """The most one patient moves what is released in one step."""
    if not study.measures:
        return study.privacy.clip_norm
    from synth.federated import most_tables

    return math.sqrt(most_tables(study.synthesis.spec, study.synthesis.tree))


def _reserve(study: Study, hospital: Hospital, wanted: dict[str, PoissonGaussian]) -> None:
    """Reserve every account of the study, or none."""
    if not wanted:
        return
    with Ledger.open(hospital.ledger) as ledger:
        for account, event in wanted.items():
            try:
                ledger.reserve(
                    account,
                    event,
                    delta=study.privacy.delta,
                    epsilon_ceiling=hospital.policy.epsilon_ceiling,
                    study_digest=study.digest(),
                    purpose=study.study.name,
                )
            except WrongUnit as wrong:
                raise PolicyRefusal(str(wrong)) from None
            except BudgetExhausted as exhausted:
                for other in wanted:
                    if ledger.reservation(other) is not None:
                        ledger.settle(other)
                raise PolicyRefusal(f"the privacy ledger has no room: {exhausted}") from None
