"""Generator and critic, and the one step in which each learns from the other.

A step draws conditions, real rows that meet them and generated rows that ought to; the critic learns by its closed-form
gradients, then judges the same generated rows again, and the generator follows. Everything random comes from the
caller's generator of random numbers, so that a step can be repeated.

Source: Xu et al. 2019 (arXiv 1907.00503), algorithm 1. Theirs draws other rows for the generator's turn; taking the
same saves a pass through the generator.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from synth.generators.activations import Stretches, activate, draw_gumbel, miss_of_condition
from synth.generators.critic_gradients import assign_gradients, draw_kept, judge
from synth.generators.mixed_rows import MixedRows
from synth.generators.networks import Critic, Generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from synth.generators.conditions import Conditions
    from synth.generators.mixed_rows import Layout

_PENALTY = 10.0
_DROPOUT = 0.5
_AVERAGED = 0.999  # of the averaged weights that a step keeps
_CALIBRATIONS = 8  # batches from which the averaged generator's norms are taken
_AT_ONCE = 4096  # rows drawn in one pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What a step is made of.

    Attributes:
        batch: rows of a step, a multiple of the pack.
        pack: rows that the critic judges together.
        noise: width of the generator's noise.
        hidden: units of each of the two hidden layers of both networks.
        rate: of learning, of both networks.
    """

    batch: int
    pack: int
    noise: int
    hidden: int
    rate: float


class Guide(Protocol):
    """What generated rows are pulled to besides the real ones."""

    def pull(self, rows: NDArray[np.float32], asked: NDArray[np.int64]) -> NDArray[np.float32]:
        """Returns the gradient of a loss by generated rows [B, width], of which conditions were asked [B]."""

    def look(self, duel: Duel, training: MixedRows, rng: np.random.Generator) -> None:
        """Changes which conditions a duel asks for from here on."""

    def state(self) -> dict[str, Any]:
        """Everything that a step or a look changes, in kinds that a file of weights may hold."""

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to a state."""


class Duel:
    """Two networks, their optimisers and the room they work in.

    Args:
        layout: how rows are written; one choice at least.
        conditions: which categories are asked for, those of the layout's plain choices.
        sizes: of a step.
        rng: draws the first weights.
        guide: what else generated rows are pulled to; it needs conditions.
    """

    def __init__(
        self,
        layout: Layout,
        conditions: Conditions,
        sizes: Sizes,
        rng: np.random.Generator,
        guide: Guide | None = None,
    ) -> None:
        self.layout, self.conditions, self.sizes, self.guide = layout, conditions, sizes, guide
        first = torch.Generator().manual_seed(int(rng.integers(2**62)))
        categories, hidden = len(conditions.counts), (sizes.hidden, sizes.hidden)
        self.generator = Generator(
            noise=sizes.noise, categories=categories, hidden=hidden, width=layout.width, randomness=first
        )
        self.critic = Critic(
            width=layout.width + categories, pack=sizes.pack, hidden=hidden, dropout=_DROPOUT, randomness=first
        )
        self.optimisers = [
            torch.optim.Adam(network.parameters(), lr=sizes.rate, betas=(0.5, 0.9), weight_decay=1e-6, fused=True)
            for network in (self.generator, self.critic)
        ]
        self.average = [weights.detach().clone() for weights in self.generator.parameters()]
        self.steps = 0
        self._all = Stretches.of(layout.sizes)
        self._asked = Stretches.of(layout.sizes[: len(layout.plain)])
        judgements = sizes.batch // sizes.pack
        self._packed = torch.zeros(3 * judgements, sizes.pack * self.critic.width)

    def step(self, rows: MixedRows, rng: np.random.Generator) -> None:
        """Trains both networks on one batch of rows."""
        B, S = self.sizes.batch, len(self.layout.modal)
        asked = self.conditions.draw(B, rng)
        real = rows.at(self.conditions.draw_rows(asked, B, rng))
        noise = torch.from_numpy(rng.standard_normal((B, self.sizes.noise), dtype=np.float32))
        raw = self.generator(noise, None if asked is None else torch.from_numpy(asked))
        made = activate(raw, S, self._all, draw_gumbel(B, self.layout.width - S, rng))
        self._pack(real, made.detach(), asked)
        n = B // self.sizes.pack
        share = torch.from_numpy(rng.random((n, 1), dtype=np.float32))
        kept = draw_kept(self.critic, 3 * n, rng)
        assign_gradients(self.critic, self._packed, share, kept, penalty=_PENALTY)
        self.optimisers[1].step()

        kept = draw_kept(self.critic, n, rng)
        _, slope = judge(self.critic, self._packed[n : 2 * n], kept)
        by_rows = slope.view(B, -1)[:, : self.layout.width] / -n
        if self.guide is not None and asked is not None:
            by_rows += torch.from_numpy(self.guide.pull(made.detach().numpy(), asked))
        by_raw = torch.zeros_like(raw)
        if asked is not None:
            K = len(self.conditions.counts)
            _, miss = miss_of_condition(raw.detach().numpy()[:, S : S + K], self._asked, asked)
            by_raw[:, S : S + K] = torch.from_numpy(miss)
        self.optimisers[0].zero_grad(set_to_none=False)
        torch.autograd.backward([made, raw], [by_rows, by_raw])
        self.optimisers[0].step()
        self.steps += 1
        kept_share = min(_AVERAGED, self.steps / (self.steps + 9))
        with torch.no_grad():
            torch._foreach_lerp_(self.average, list(self.generator.parameters()), 1 - kept_share)

    def averaged(self, rng: np.random.Generator) -> Generator:
        """Returns the generator of averaged weights, its norms taken from batches like those of training."""
        averaged = copy.deepcopy(self.generator)
        with torch.no_grad():
            for weights, mean in zip(averaged.parameters(), self.average, strict=True):
                weights.copy_(mean)
            averaged.forget_norms()
            for _ in range(_CALIBRATIONS):
                asked = self.conditions.draw(self.sizes.batch, rng)
                noise = torch.from_numpy(rng.standard_normal((self.sizes.batch, self.sizes.noise), dtype=np.float32))
                averaged(noise, None if asked is None else torch.from_numpy(asked))
        return averaged.eval()

    def scores(self, rows: MixedRows, asked: NDArray[np.int64]) -> torch.Tensor:
        """Returns the critic's scores, dropout off, of packs of rows and of what was asked of them."""
        spelt = np.empty((len(rows), self.critic.width), dtype=np.float32)
        self._spell(rows, asked, spelt)
        self.critic.eval()
        with torch.no_grad():
            scored: torch.Tensor = self.critic(torch.from_numpy(spelt))
        self.critic.train()
        return scored

    def state(self) -> dict[str, Any]:
        """Everything a step changes."""
        return {
            "steps": self.steps,
            "networks": [self.generator.state_dict(), self.critic.state_dict()],
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "average": self.average,
            "asked": torch.from_numpy(self.conditions.trained),
            "guide": self.guide.state() if self.guide is not None else None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to a state of a duel of the same layout and sizes."""
        self.steps = state["steps"]
        for network, weights in zip((self.generator, self.critic), state["networks"], strict=True):
            network.load_state_dict(weights)
        for optimiser, moments in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(moments)
        self.average = state["average"]
        self.conditions = replace(self.conditions, trained=state["asked"].numpy())
        if self.guide is not None:
            self.guide.restore(state["guide"])

    def _pack(self, real: MixedRows, made: torch.Tensor, asked: NDArray[np.int64] | None) -> None:
        """Writes real and generated rows, each with what was asked of it, to where the critic reads them."""
        B, W = self.sizes.batch, self.layout.width
        room = self._packed.numpy().reshape(-1, self.critic.width)
        self._spell(real, asked, room[:B])
        room[B : 2 * B, :W] = made.numpy()
        room[B : 2 * B, W:] = room[:B, W:]

    def _spell(self, rows: MixedRows, asked: NDArray[np.int64] | None, room: NDArray[np.float32]) -> None:
        """Writes rows and conditions, every choice spelt out, into [N, width of the critic's rows]."""
        S, index = len(self.layout.modal), np.arange(len(rows))
        room[:] = 0
        room[:, :S] = rows.scalars
        room[index[:, None], S + self._all.starts + rows.parts] = 1
        if asked is not None:
            room[index, self.layout.width + asked] = 1


def draw_mixed(
    generator: Generator, layout: Layout, conditions: Conditions, rows: int, rng: np.random.Generator
) -> MixedRows:
    """Draws rows of a trained generator, conditions as often as they hold in the table.

    Args:
        generator: with fixed norms.
        layout: of its outputs.
        conditions: of its training.
        rows: how many.
        rng: decides which.
    """
    S = len(layout.modal)
    starts = Stretches.of(layout.sizes).starts
    scalars = np.empty((rows, S), dtype=np.float32)
    parts = np.empty((rows, len(layout.sizes)), dtype=np.int32)
    for start in range(0, rows, _AT_ONCE):
        some = slice(start, min(start + _AT_ONCE, rows))
        count = some.stop - start
        asked = conditions.draw_natural(count, rng)
        noise = torch.from_numpy(rng.standard_normal((count, generator.noise.in_features), dtype=np.float32))
        with torch.no_grad():
            raw = generator(noise, None if asked is None else torch.from_numpy(asked)).numpy()
        scalars[some] = np.tanh(raw[:, :S])
        outputs = raw[:, S:].T + draw_gumbel(count, layout.width - S, rng)
        for c, (first, size) in enumerate(zip(starts, layout.sizes, strict=True)):
            parts[some, c] = outputs[first : first + size].argmax(axis=0)
    return MixedRows(scalars, parts)
