"""A generative adversarial network whose critic alone sees patients, by privately clipped and noised gradients.

What the usual private table GANs break is left out: encoders come from the specification and not from the table,
patients are drawn by chance and not by their categories, no two rows share a judgement, and nothing mixes a patient
with a generated row (`synth.generators.adversary`).

Source: Xie et al. 2018 (arXiv 1802.06739); Bie, Kamath & Zhang 2023 (arXiv 2302.02936), several critic steps for each
of the generator's; Abadi et al. 2016 (arXiv 1607.00133).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from privacy.noise import ReproducibleNoise
from synth.account import settled
from synth.admission import admit_paid, count_patients
from synth.encoding import Encoder

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from privacy.statement import PrivacyStatement
    from synth.account import Account
    from synth.generators.adversary import Duel
    from synth.spec import TableSpec

_AT_A_TIME = 4096  # rows drawn together


@dataclass(frozen=True, slots=True)
class DpGan:
    """Settings.

    Attributes:
        batch: patients expected in a step of the critic.
        steps: of the critic.
        critic_steps: of them for each step of the generator.
        learning_rate: of both.
        clip_norm: the most one patient moves the sum of a step.
    """

    batch: int = 128
    steps: int = 2000
    critic_steps: int = 5
    learning_rate: float = 1e-3
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        """Refuses what is out of range."""
        for name in ("batch", "steps", "critic_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name.replace('_', '-')} must be >= 1, got {getattr(self, name)}")
        for name in ("learning_rate", "clip_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name.replace('_', '-')} must be > 0, got {getattr(self, name)}")

    @property
    def licence(self) -> str:
        """Wardround's own."""
        return ""

    def fit(
        self, table: pd.DataFrame, spec: TableSpec, *, rng: np.random.Generator, privacy: Account | None
    ) -> FittedDpGan:
        """Trains critic and generator in turn: see `synth.generators.Generator`.

        Guarantee:
            With `privacy`, the state is (epsilon, delta)-differentially private per patient, as its statement says. The
            number of patients fixes the sampling rate and is not covered, unless the site declares one.
        """
        from synth.generators.adversary import (
            CriticPlan,
            Duel,
            critic_optimizer,
            generator_optimizer,
            patients_rows,
            train_critic,
            train_generator,
        )

        patients = (privacy.allowance.declared_patients if privacy else 0) or count_patients(table, spec)
        rate = min(1.0, self.batch / max(patients, 1))
        admitted, spending = admit_paid(
            table, spec, privacy, steps=self.steps, purpose="synthetic cohort: DP-GAN", sampling_rate=rate
        )
        encoder = Encoder(spec)
        rows = patients_rows(encoder.encode(admitted.rows), admitted.owner)
        duel = Duel(encoder, seed=int(rng.integers(2**31)))
        noise = privacy.noise if privacy else ReproducibleNoise(str(rng.integers(2**63)))
        multiplier = spending.multiplier if spending else 0.0
        plan = CriticPlan(rate, patients, multiplier, self.clip_norm)
        if spending:
            spending.charge(steps=self.steps)
        upper = critic_optimizer(duel, learning_rate=self.learning_rate)
        lower = generator_optimizer(duel, learning_rate=self.learning_rate)
        for start in range(0, self.steps, self.critic_steps):
            steps = min(self.critic_steps, self.steps - start)
            train_critic(duel, rows, plan, optimizer=upper, steps=steps, noise=noise, rng=rng)
            train_generator(duel, batch=self.batch, optimizer=lower, rng=rng)
        return FittedDpGan(encoder, duel.settled(rng), settled(spending, clip_norm=self.clip_norm))


@dataclass(frozen=True, slots=True)
class FittedDpGan:
    """A trained generator; where the fit was private, it may be kept.

    Attributes:
        encoder: of vectors and rows.
        duel: with the trained generator.
        statement: what the training cost.
    """

    encoder: Encoder
    duel: Duel
    statement: PrivacyStatement

    def sample(self, rows: int, rng: np.random.Generator) -> pd.DataFrame:
        """Draws rows: see `synth.generators.Fitted`."""
        import torch

        with torch.inference_mode():
            made = [self.duel.make(min(_AT_A_TIME, rows - start), rng) for start in range(0, rows, _AT_A_TIME)]
        return self.encoder.decode(torch.cat(made).numpy())
