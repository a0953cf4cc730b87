"""The patients' account a private generator pays from: what it may cost, and the ledger that is charged first.

A fit of a generator here is a few noisy sums over all patients, or many over samples of them, all with the same noise
multiplier, so a fit is one event of the ledger with as many steps as there are releases. The whole is reserved before
anything is worked out from the table, and each step is charged before its result exists.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from privacy.accounting import PoissonGaussian, accountant_of, certify, noise_multiplier_for
from privacy.statement import PrivacyStatement

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from privacy.ledger import Ledger
    from privacy.noise import NoiseSource

NOT_COVERED = ("tuning runs", "the number of rows drawn", "what `wardround synth check` told on the screen")


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What one fit may cost each patient; public.

    Attributes:
        epsilon: of the fit, > 0 and finite; without differential privacy there is no allowance.
        delta: in (0, 1), below 1 / patients to mean anything.
        ceiling: the most the patients may pay over all releases, > 0.
        patient_rows: rows of one patient that count, >= 1; each weighs one over this number.
        declared_patients: the size of the cohort that may be known, from which a sampling rate follows; 0 for the true.
    """

    epsilon: float
    delta: float
    ceiling: float
    patient_rows: int = 1
    declared_patients: int = 0

    def __post_init__(self) -> None:
        for name in ("epsilon", "ceiling"):
            if not (getattr(self, name) > 0 and math.isfinite(getattr(self, name))):
                raise ValueError(f"{name} must be finite and > 0, got {getattr(self, name)}")
        if not 0 < self.delta < 1:
            raise ValueError(f"delta must lie in (0, 1), got {self.delta}")
        if self.patient_rows < 1:
            raise ValueError(f"patient-rows must be >= 1, got {self.patient_rows}")
        if self.declared_patients < 0:
            raise ValueError(f"declared_patients must be >= 0, got {self.declared_patients}")


@dataclass(frozen=True, slots=True)
class Account:
    """An allowance with the ledger it is charged to and the noise that hides a patient.

    Attributes:
        allowance: what the fit may cost.
        ledger: the hospital's.
        run_id: names the fit in the ledger; every fit needs one of its own.
        study_digest: hash of what was agreed to.
        noise: source of the noise.
    """

    allowance: Allowance
    ledger: Ledger
    run_id: str
    study_digest: str
    noise: NoiseSource

    def open(self, *, steps: int, purpose: str, sampling_rate: float = 1.0) -> Spending:
        """Reserves a fit of so many releases.

        Args:
            steps: releases of the fit, >= 1.
            purpose: one line for whoever reads the ledger.
            sampling_rate: probability in (0, 1] that a patient is in one of them.

        Raises:
            privacy.ledger.BudgetExhausted: the ceiling would be passed; nothing is reserved and nothing may be read.
            ValueError: the run is known to the ledger: fits are not resumed, since their noise would repeat.
        """
        if self.ledger.reservation(self.run_id) is not None:
            raise ValueError(f"run {self.run_id!r} stands in the ledger already: a new fit needs a name of its own")
        allowed = self.allowance
        multiplier = noise_multiplier_for(
            allowed.epsilon, delta=allowed.delta, sampling_rate=sampling_rate, steps=steps
        )
        event = PoissonGaussian(sampling_rate, multiplier, steps)
        self.ledger.reserve(
            self.run_id,
            event,
            delta=allowed.delta,
            epsilon_ceiling=allowed.ceiling,
            study_digest=self.study_digest,
            purpose=purpose,
        )
        return Spending(self, event)


@dataclass(frozen=True, slots=True)
class Spending:
    """An open reservation of one fit.

    Attributes:
        account: whose.
        event: the whole fit; each release uses its noise multiplier.
    """

    account: Account
    event: PoissonGaussian

    @property
    def multiplier(self) -> float:
        """Noise over sensitivity of each release."""
        return self.event.noise_multiplier

    def charge(self, *, steps: int = 1) -> None:
        """Charges releases; durable when it returns, so only then may they be computed."""
        self.account.ledger.charge(self.account.run_id, replace(self.event, steps=steps))

    def abandon(self) -> None:
        """Settles a fit that charged nothing and will not go on."""
        self.account.ledger.settle(self.account.run_id)

    def close(self, *, clip_norm: float) -> PrivacyStatement:
        """Settles the run and states what it cost.

        Args:
            clip_norm: the most one patient could move the largest release, in the L2 norm.
        """
        self.account.ledger.settle(self.account.run_id)
        delta = self.account.allowance.delta
        bound = certify(self.event, delta=delta)
        return PrivacyStatement(
            epsilon=bound,
            delta=delta,
            sampling_rate=self.event.sampling_rate,
            noise_multiplier=self.multiplier,
            clip_norm=clip_norm,
            steps=self.event.steps,
            not_covered=NOT_COVERED,
            reproducible_noise=self.account.noise.reproducible,
            accountant=accountant_of(bound),
        )


def settled(spending: Spending | None, *, clip_norm: float) -> PrivacyStatement:
    """States what a finished fit cost; without spending, that it has no guarantee."""
    return spending.close(clip_norm=clip_norm) if spending else PrivacyStatement.none(steps=0)


def bounded_rows(
    patients: pd.Series | None, rows: int, *, most: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Chooses at most so many rows of each patient, at random.

    Args:
        patients: who each row belongs to; None where every row is a patient.
        rows: of the table.
        most: rows of a patient that are kept, >= 1.
        rng: decides which; whichever it is, a patient has no more.

    Returns:
        Positions of the kept rows, int64 [M], and the patient of each as a number from 0, int64 [M].
    """
    order = rng.permutation(rows)
    if patients is None:
        return np.sort(order), np.arange(rows, dtype=np.int64)
    numbers = patients.factorize()[0].astype(np.int64)
    shuffled = numbers[order]
    grouped = np.argsort(shuffled, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(shuffled[grouped]) != 0])
    rank = np.arange(rows) - np.repeat(starts, np.diff(np.r_[starts, rows]))
    kept = np.sort(order[grouped[rank < most]])
    return kept, numbers[kept]
