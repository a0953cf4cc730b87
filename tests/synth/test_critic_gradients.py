"""The closed form of a critic's training against automatic differentiation, which knows nothing of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from synth.generators.critic_gradients import assign_gradients, draw_kept, judge
from synth.generators.networks import Critic

WIDTH, PACK, N = 7, 3, 5


def critic(hidden, dropout, seed=1):
    made = Critic(
        width=WIDTH, pack=PACK, hidden=hidden, dropout=dropout, randomness=torch.Generator().manual_seed(seed)
    )
    return made.double()


def rows(seed, judgements):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(judgements, PACK * WIDTH)))


def kept_of(made, judgements, seed=2):
    return [k.double() for k in draw_kept(made, judgements, np.random.default_rng(seed))]


def scored(made, packed, kept):
    """The critic layer by layer, with dropout as given."""
    for layer, factor in zip(made.linear[:-1], kept, strict=True):
        packed = functional.leaky_relu(layer(packed), made.slope) * factor
    return made.linear[-1](packed).squeeze(1)


@pytest.mark.parametrize("hidden", [(6,), (6, 4), (5, 4, 3)])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("penalty", [0.0, 10.0])
def test_the_gradients_of_a_step_are_those_of_automatic_differentiation(hidden, dropout, penalty):
    made = critic(hidden, dropout)
    packed, share = rows(3, 3 * N), torch.rand(N, 1, generator=torch.Generator().manual_seed(4)).double()
    kept = kept_of(made, 3 * N)
    real, fake = packed[:N].clone(), packed[N : 2 * N].clone()
    mix = (share * real + (1 - share) * fake).requires_grad_()
    scores = [scored(made, part, [k[i * N : (i + 1) * N] for k in kept]) for i, part in enumerate((real, fake, mix))]
    (slope,) = torch.autograd.grad(scores[2].sum(), mix, create_graph=True)
    loss = scores[1].mean() - scores[0].mean() + penalty * (slope.norm(dim=1) - 1).square().mean()
    expected = torch.autograd.grad(loss, list(made.parameters()), allow_unused=True)
    found = assign_gradients(made, packed, share, kept, penalty=penalty)
    assert float(found) == pytest.approx(float(loss.detach()), abs=1e-10)
    for parameter, wanted in zip(made.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, wanted, rtol=1e-9, atol=1e-10)


def test_single_precision_stays_within_a_hundred_thousandth():
    made = Critic(width=60, pack=10, hidden=(256, 256), dropout=0.5, randomness=torch.Generator().manual_seed(1))
    packed = torch.randn(150, 600, generator=torch.Generator().manual_seed(2))
    share, kept = torch.rand(50, 1), draw_kept(made, 150, np.random.default_rng(3))
    real, fake = packed[:50].clone(), packed[50:100].clone()
    mix = (share * real + (1 - share) * fake).requires_grad_()
    (slope,) = torch.autograd.grad(scored(made, mix, [k[100:] for k in kept]).sum(), mix, create_graph=True)
    penalty = 10 * (slope.norm(dim=1) - 1).square().mean()
    gap = scored(made, fake, [k[50:100] for k in kept]).mean() - scored(made, real, [k[:50] for k in kept]).mean()
    expected = torch.autograd.grad(penalty + gap, list(made.parameters()), allow_unused=True)
    assert float(assign_gradients(made, packed, share, kept, penalty=10.0)) == pytest.approx(
        float((penalty + gap).detach()), abs=1e-5
    )
    for parameter, wanted in zip(made.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_judgement_is_the_score_and_its_gradient(dropout):
    made = critic((6, 4), dropout)
    packed, kept = rows(5, N).requires_grad_(), kept_of(made, N)
    wanted = scored(made, packed, kept)
    (slope,) = torch.autograd.grad(wanted.sum(), packed)
    scores, gradients = judge(made, packed.detach(), kept)
    torch.testing.assert_close(scores, wanted.detach())
    torch.testing.assert_close(gradients, slope)


def test_without_dropout_a_judgement_is_the_network_itself():
    made = critic((6, 4), 0.0)
    scores, _ = judge(made, rows(6, N), kept_of(made, N))
    torch.testing.assert_close(scores, made(rows(6, N).reshape(-1, WIDTH)).detach())


def test_a_critic_without_a_slope_has_a_finite_penalty():
    made = critic((4,), 0.0)
    for parameter in made.parameters():
        parameter.data.zero_()
    loss = assign_gradients(made, rows(7, 3 * N), torch.full((N, 1), 0.5).double(), kept_of(made, 3 * N), penalty=10.0)
    assert float(loss) == pytest.approx(10.0)
    assert all(torch.isfinite(parameter.grad).all() for parameter in made.parameters())
