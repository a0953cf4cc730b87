"""A GAN whose accounting is what it does: how often, of whom, with how much noise, and how far a patient moves it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from privacy.ledger import Ledger
from privacy.noise import ReproducibleNoise
from synth.account import Account, Allowance
from synth.admission import admit
from synth.encoding import Encoder
from synth.generators import adversary
from synth.generators.adversary import CriticPlan, Duel, critic_optimizer, patients_rows, train_critic
from synth.generators.dp_gan import DpGan
from tests.synth.tiny import WARD, ward


def test_what_is_charged_is_what_is_done(tmp_path, monkeypatch):
    drawn, stepped = [], []
    sample, step = adversary.poisson_sample, adversary.private_gradient

    def sampling(patients, rate, noise):
        drawn.append((patients, rate))
        return sample(patients, rate, noise)

    def stepping(*arguments, **settings):
        stepped.append(settings)
        return step(*arguments, **settings)

    monkeypatch.setattr(adversary, "poisson_sample", sampling)
    monkeypatch.setattr(adversary, "private_gradient", stepping)
    allowance = Allowance(epsilon=2.0, delta=1e-5, ceiling=5.0)
    with Ledger.open(tmp_path / "ledger.db") as ledger:
        account = Account(allowance, ledger, "fit", "agreed", ReproducibleNoise(1))
        settings = DpGan(batch=15, steps=11, critic_steps=3, clip_norm=0.5)
        fitted = settings.fit(ward(), WARD, rng=np.random.default_rng(1), privacy=account)
        event = ledger.reservation("fit").event
    assert (event.sampling_rate, event.steps) == (15 / 60, 11)  # 120 rows of 60 patients
    assert drawn == [(60, event.sampling_rate)] * event.steps
    assert len(stepped) == event.steps
    for settings in stepped:
        assert settings["noise_multiplier"] == event.noise_multiplier
        assert settings["clip_norm"] == 0.5
        assert settings["patients_expected"] == pytest.approx(15)  # never the number that was drawn
    stated = fitted.statement
    assert (stated.sampling_rate, stated.noise_multiplier) == (event.sampling_rate, event.noise_multiplier)
    assert (stated.steps, stated.clip_norm) == (11, 0.5)


class Recording(torch.optim.SGD):
    """Keeps the gradient and does not move."""

    def step(self, closure=None):
        del closure
        self.seen = torch.cat([p.grad.flatten() for g in self.param_groups for p in g["params"]]).clone()


def gradient(table: pd.DataFrame, clip_norm: float) -> torch.Tensor:
    """The critic's gradient of one step on everybody, without noise; per patient of a public hundred."""
    encoder = Encoder(WARD)
    duel = Duel(encoder, seed=3)
    admitted = admit(table, WARD)
    rows = patients_rows(encoder.encode(admitted.rows), admitted.patients.factorize()[0].astype(np.int64))
    plan = CriticPlan(sampling_rate=1.0, patients=100, noise_multiplier=0.0, clip_norm=clip_norm)
    optimizer = Recording(duel.critic.parameters(), lr=1.0)
    train_critic(
        duel,
        rows,
        plan,
        optimizer=optimizer,
        steps=1,
        noise=ReproducibleNoise(1),
        rng=np.random.default_rng(4),
    )
    return optimizer.seen


@pytest.mark.parametrize("clip_norm", [0.01, 0.3])
def test_a_patient_with_all_rows_moves_a_step_by_no_more_than_the_clip_norm(clip_norm):
    table = ward()
    table.loc[table.index[:30], "patient"] = "0"  # one came thirty times
    whole = gradient(table, clip_norm)
    for patient in ("0", "20", "40"):
        without = gradient(table[table["patient"] != patient], clip_norm)
        moved = float((whole - without).norm()) * 100
        assert 0 < moved <= clip_norm + 1e-5  # both hold the drawn rows' part as well, in single precision


def test_the_generator_is_not_moved_by_patients():
    encoder = Encoder(WARD)
    duel = Duel(encoder, seed=3)
    before = [p.clone() for p in duel.generator.parameters()]
    admitted = admit(ward(), WARD)
    rows = patients_rows(encoder.encode(admitted.rows), admitted.patients.factorize()[0].astype(np.int64))
    train_critic(
        duel,
        rows,
        CriticPlan(0.5, 60, 1.0, 1.0),
        optimizer=critic_optimizer(duel, learning_rate=1.0),
        steps=3,
        noise=ReproducibleNoise(1),
        rng=np.random.default_rng(4),
    )
    assert all(torch.equal(p, q) for p, q in zip(before, duel.generator.parameters(), strict=True))


def test_without_noise_it_learns_the_share_of_a_category():
    table = pd.concat([ward(400)] * 2, ignore_index=True)
    table["sex"], table["pregnant"] = "F", "false"
    settings = DpGan(batch=100, steps=400, critic_steps=4, learning_rate=2e-3, clip_norm=1.0)
    fitted = settings.fit(table, WARD, rng=np.random.default_rng(1), privacy=None)
    assert (fitted.sample(500, np.random.default_rng(2))["sex"] == "F").mean() > 0.9
