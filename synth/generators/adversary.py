"""The private side of a GAN: a critic that learns patients from clipped, noised gradients, and what it is shown beside.

A step's gradient has two halves. The half of the patients is a sum over a Poisson sample of them, each patient's whole
gradient clipped, with noise: a step of `privacy.clipping`. The half of the generated rows is ordinary: they were
drawn from a generator that has only ever seen the critic. So nothing mixes a patient with a generated row.

The loss is the logistic one. A Wasserstein critic has to be kept smooth: by a penalty, which works on mixtures of
patients and generated rows and would have to be clipped and noised as well, or by keeping its weights in a box, which
looks at nobody and was tried: it learned no dependence between columns, with noise or without. The logistic loss needs
neither.

A patient's rows count together as one row, so that who came often weighs no more.

Source: Goodfellow et al. 2014 (arXiv 1406.2661), the loss that does not saturate; Xie et al. 2018 (arXiv 1802.06739),
noise in the critic alone; Bie, Kamath & Zhang 2023 (arXiv 2302.02936), this loss under privacy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import softplus

from clinical.learning import Examples, learn
from privacy.clipping import private_gradient
from privacy.noise import poisson_sample
from synth.generators.networks import Critic, Generator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from clinical.learning import Batch, Cases, LearningReport
    from privacy.noise import NoiseSource
    from synth.encoding import Encoder

NOISE = 32  # width of what a row is made from
_HIDDEN = (128, 128)
_BETAS = (0.5, 0.9)  # of both optimizers
_TEMPERATURE = 0.5
_SETTLING, _SETTLING_ROWS = 20, 500


@dataclass(frozen=True, slots=True)
class CriticPlan:
    """How a critic is trained on patients; public.

    Attributes:
        sampling_rate: probability in (0, 1] that a patient is in one step.
        patients: by whom gradients are averaged: the public size of the cohort.
        noise_multiplier: noise over clip norm; 0 without differential privacy.
        clip_norm: the most one patient moves a step's sum.
    """

    sampling_rate: float
    patients: int
    noise_multiplier: float
    clip_norm: float


class Duel(torch.nn.Module):
    """A generator and its critic; called as the critic.

    Args:
        encoder: makes vectors of rows; public.
        seed: of the first weights.
    """

    def __init__(self, encoder: Encoder, *, seed: int) -> None:
        super().__init__()
        randomness = torch.Generator().manual_seed(seed)
        width = sum(encoder.widths)
        self.critic = Critic(width=width, pack=1, hidden=_HIDDEN, dropout=0.0, randomness=randomness)
        self.generator = Generator(noise=NOISE, categories=0, hidden=_HIDDEN, width=width, randomness=randomness)
        self._heads = encoder.heads

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Returns the critic's scores, [B, 1]."""
        scores: torch.Tensor = self.critic(rows).unsqueeze(1)
        return scores

    def make(self, count: int, rng: np.random.Generator) -> torch.Tensor:
        """Draws rows as vectors: every choice softly drawn, every number in [-1, 1]; float32 [count, W]."""
        raw = self.generator(torch.from_numpy(rng.standard_normal((count, NOISE), dtype=np.float32)))
        parts, start = [], 0
        for kind, width in self._heads:
            block = raw[:, start : start + width]
            start += width
            if kind == "number":
                parts.append(torch.tanh(block))
                continue
            logits = block if kind == "choice" else torch.cat([block, torch.zeros_like(block)], dim=1)
            gumbel = torch.from_numpy(rng.gumbel(size=logits.shape).astype(np.float32))
            drawn = torch.softmax((logits + gumbel) / _TEMPERATURE, dim=1)
            parts.append(drawn if kind == "choice" else drawn[:, :1])
        return torch.cat(parts, dim=1)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Returns both networks' weights and norms, by name; how many batches a norm has seen matters to nobody."""
        return {
            name: tensor.detach().numpy().copy()
            for name, tensor in self.state_dict().items()
            if not name.endswith("num_batches_tracked")
        }

    def load(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Takes what `arrays` gave.

        Raises:
            ValueError: one is missing, is none of theirs, or has another shape.
        """
        own = self.arrays()
        if arrays.keys() != own.keys() or any(arrays[name].shape != own[name].shape for name in own):
            raise ValueError("the arrays are not those of this critic and generator")
        self.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()}, strict=False)

    def settled(self, rng: np.random.Generator) -> Duel:
        """Returns the pair with the generator ready to draw: its norms those of many batches, no longer of each."""
        self.generator.forget_norms()
        self.generator.train()
        with torch.no_grad():
            for _ in range(_SETTLING):
                self.make(_SETTLING_ROWS, rng)
        self.generator.eval()
        return self


def patients_rows(vectors: NDArray[np.float64], owner: NDArray[np.int64]) -> Examples:
    """Returns a table's rows by patient; they have no labels."""
    from scipy.sparse import csr_matrix

    return Examples(vectors.astype(np.float32), csr_matrix((len(vectors), 1)), owner)


def train_critic(
    duel: Duel,
    rows: Cases,
    plan: CriticPlan,
    *,
    optimizer: torch.optim.Optimizer,
    steps: int,
    noise: NoiseSource,
    rng: np.random.Generator,
) -> LearningReport:
    """Trains the critic in place, the generator held fast.

    Args:
        duel: both.
        rows: of the patients, as from `patients_rows`.
        plan: how.
        optimizer: as from `critic_optimizer`.
        steps: to take, each a Poisson sample of the patients.
        noise: draws the samples and the noise.
        rng: draws generated rows.

    Guarantee:
        The critic's change is that of `steps` steps of `PoissonGaussian(sampling_rate, noise_multiplier)`; everything
        else that enters it is public or follows from earlier noisy steps.
    """
    batches = (poisson_sample(rows.patients, plan.sampling_rate, noise) for _ in range(steps))
    duel.generator.train()  # its norms are of each batch, as when it learns
    return learn(duel.critic, rows, batches, optimizer=optimizer, gradient=_gradient(duel, plan, noise, rng))


def train_generator(duel: Duel, *, batch: int, optimizer: torch.optim.Optimizer, rng: np.random.Generator) -> None:
    """Takes one step of the generator against the critic; no patient is near."""
    duel.generator.train()
    optimizer.zero_grad(set_to_none=True)
    softplus(-duel.critic(duel.make(batch, rng))).mean().backward()
    optimizer.step()


def critic_optimizer(duel: Duel, *, learning_rate: float) -> torch.optim.Optimizer:
    """Returns the optimizer of `train_critic`."""
    return torch.optim.Adam(duel.critic.parameters(), lr=learning_rate, betas=_BETAS)


def generator_optimizer(duel: Duel, *, learning_rate: float) -> torch.optim.Optimizer:
    """Returns the optimizer of `train_generator`."""
    return torch.optim.Adam(duel.generator.parameters(), lr=learning_rate, betas=_BETAS)


def _gradient(duel: Duel, plan: CriticPlan, noise: NoiseSource, rng: np.random.Generator) -> Callable[[Batch], float]:
    """The critic's gradient of one step: patients up, privately; generated rows down."""
    critic, expected = duel.critic, plan.sampling_rate * plan.patients

    def gradient(batch: Batch) -> float:
        share = 1 / torch.bincount(batch.patient)[batch.patient]  # a patient's rows weigh one together
        report = private_gradient(
            critic,
            batch.features,
            lambda scores: softplus(-scores) * share,
            batch.patient,
            clip_norm=plan.clip_norm,
            patients_expected=expected,
            noise=noise,
            noise_multiplier=plan.noise_multiplier,
        )
        with torch.no_grad():
            made = duel.make(max(round(expected), 1), rng)
        softplus(critic(made)).mean().backward()  # adds to what the patients gave
        return report.loss_sum

    return gradient
