"""The coordinator's account with the hospitals: what hiding each of them costs, reserved before the first round.

A hospital's own ledger keeps what its patients have paid. This one is the coordinator's and keeps what the hospitals
have: every round that is asked is charged before anybody is asked, so a round without a quorum, a crash and a kill cost
a round each and release nothing more.
"""

from __future__ import annotations

import logging
import math
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from privacy.accounting import RELATION, accountant_of, certify, noise_multiplier_for
from privacy.budget import HOSPITAL
from privacy.ledger import Ledger
from privacy.statement import PrivacyStatement
from server.roster import StudyFailed, StudyRefused
from study.home import home

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flwr.serverapp.strategy import FedAvg

    from privacy.noise import NoiseSource
    from server.archive import Archive
    from server.exchange import Arrays
    from server.roster import Roster
    from strategies.hospital_privacy import HospitalSum
    from study.protocol import Study

log = logging.getLogger("wardround")

NOT_COVERED = (
    "the coordinator, who sees every update before it is clipped",
    "which hospitals take part and answer, and their numbers of patients",
    "code counts, also as the frequencies in the first model",
    "metrics, thresholds and their intervals",
    "the choice of settings by earlier runs",
)


@dataclass(frozen=True, slots=True)
class Account:
    """One study's account on the coordinator's ledger."""

    study: Study
    run: str
    mechanism: HospitalSum
    parameters: int
    ledger: str

    def reserve(self) -> None:
        """Reserve every round of the study.

        Raises:
            StudyRefused: the ledger has no room, is kept for patients, or cannot be read.
        """
        privacy = self.study.privacy
        try:
            with Ledger.open(self.ledger) as ledger:
                ledger.reserve(
                    self.run,
                    self.mechanism.event(rounds=self.study.federation.rounds),
                    delta=privacy.hospital_delta,
                    epsilon_ceiling=privacy.hospital_ceiling,
                    study_digest=self.study.digest(),
                    purpose=self.study.study.name,
                    unit=HOSPITAL,
                )
        except (ValueError, ConnectionError) as refusal:
            raise StudyRefused(f"the hospitals' privacy ledger refuses the study: {refusal}") from None

    def charge(self) -> None:
        """Charge one round, before anybody is asked.

        Raises:
            StudyFailed: the ledger does not let the round happen.
        """
        try:
            with Ledger.open(self.ledger, create=False) as ledger:
                ledger.charge(self.run, self.mechanism.event())
        except (ValueError, OSError) as refusal:
            raise StudyFailed(f"the hospitals' privacy ledger lets no further round happen: {refusal}") from None

    def plan(self) -> dict[str, Any]:
        """Return what is known before the first round, for the record."""
        noise = self.mechanism.noise_norm(self.parameters)
        return {
            "noise_multiplier": self.mechanism.noise_multiplier,
            "clip_norm": self.mechanism.clip_norm,
            "largest_weight": max(self.mechanism.weights.values()),
            "hospitals": len(self.mechanism.weights),
            "parameters": self.parameters,
            "deviation": self.mechanism.deviation,
            "noise_norm": noise,
            "noise_over_clip": noise / self.mechanism.clip_norm,
            "study_noise_over_reach": noise / self.mechanism.clip_norm / math.sqrt(self.study.federation.rounds),
        }

    def settle(self) -> dict[str, Any]:
        """Close the account; return what the study cost each hospital, and what the ledger holds over all studies."""
        delta = self.study.privacy.hospital_delta
        with Ledger.open(self.ledger, create=False) as ledger:
            ledger.settle(self.run)
            known = ledger.reservation(self.run)
            assert known is not None  # `settle` refuses a run it does not know
            total = ledger.spent(delta=delta, include_reserved=True)
            head = ledger.head
        spent = replace(known.event, steps=known.charged_steps)
        cost = certify(spent, delta=delta)
        statement = PrivacyStatement(
            epsilon=cost,
            delta=delta,
            sampling_rate=1.0,
            noise_multiplier=spent.noise_multiplier,
            clip_norm=self.mechanism.clip_norm,
            steps=spent.steps,
            not_covered=NOT_COVERED,
            reproducible_noise=self.study.privacy.reproducible_noise,
            unit=HOSPITAL,
            relation=f"{RELATION} hospital's updates",
            accountant=accountant_of(cost),
        )
        says = {"epsilon_all_runs": total, "ceiling": self.study.privacy.hospital_ceiling, "head": head}
        return {"statement": asdict(statement), "ledger": says}


@contextmanager
def hiding_hospitals(
    strategy: FedAvg, study: Study, roster: Roster, initial: Arrays, archive: Archive
) -> Iterator[FedAvg]:
    """Give a strategy that hides every hospital, where the study asks for it; account for it, however the study ends.

    Raises:
        StudyRefused: hiding hospitals would cost more than the ledger has, or drown what they say.
    """
    if not study.privacy.hides_hospitals:
        yield strategy
        return
    from strategies.hospital_privacy import HospitalPrivate

    account = _open(study, roster, initial, archive.record["run"])
    archive.note(hospital_privacy={"plan": account.plan()})
    account.reserve()
    try:
        yield HospitalPrivate(strategy, account.mechanism, _noise(study), account.charge)
    finally:
        archive.note(hospital_privacy={"plan": account.plan(), **account.settle()})


def _open(study: Study, roster: Roster, initial: Arrays, run: str) -> Account:
    from strategies.hospital_privacy import HospitalSum, fixed_weights

    privacy = study.privacy
    if privacy.hospital_delta >= 1 / len(roster.sites):
        raise StudyRefused(
            f"privacy.hospital-delta = {privacy.hospital_delta:g} is not below 1 / hospitals, and there are "
            f"{len(roster.sites)}: a mechanism that publishes one whole hospital would satisfy it"
        )
    noise_multiplier = noise_multiplier_for(
        privacy.hospital_epsilon, delta=privacy.hospital_delta, sampling_rate=1.0, steps=study.federation.rounds
    )
    weights = fixed_weights({site.node: site.patients for site in roster.sites}, most=privacy.hospital_patients)
    mechanism = HospitalSum(weights, privacy.hospital_clip, noise_multiplier)
    whole = sorted(name for name, array in initial.items() if array.dtype.kind != "f")
    if whole:
        raise StudyRefused(f"privacy.hospital-epsilon cannot noise the whole numbers in {', '.join(whole)}")
    account = Account(
        study,
        run,
        mechanism,
        parameters=sum(array.size for array in initial.values()),
        ledger=privacy.hospital_ledger or str(home() / "hospitals.db"),
    )
    _check_usefulness(account)
    return account


def _check_usefulness(account: Account) -> None:
    """Refuse a study whose rounds would be noise: few hospitals cannot hide one of them in a large model."""
    plan, limit = account.plan(), account.study.privacy.hospital_noise_limit
    said = (
        f"a round's noise is about {plan['noise_norm']:.3g} long and all hospitals together move the model by at most "
        f"{plan['clip_norm']:g} ({plan['hospitals']} hospitals, the largest with {plan['largest_weight']:.0%} of the "
        f"weight; {plan['parameters']:,} parameters; noise multiplier {plan['noise_multiplier']:.3g})"
    )
    log.info("hospital-level privacy: %s", said)
    if plan["noise_over_clip"] > limit:
        raise StudyRefused(
            f"hiding whole hospitals would drown the model: {said}; that is more than privacy.hospital-noise-limit = "
            f"{limit:g} times: take a smaller model, more hospitals or a larger privacy.hospital-epsilon"
        )


def _noise(study: Study) -> NoiseSource:
    from privacy.noise import ReproducibleNoise, SecureNoise

    if study.privacy.reproducible_noise:
        return ReproducibleNoise(f"{study.study.seed}/the hospitals' sum")
    return SecureNoise()
