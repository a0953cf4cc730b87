"""What makes a GAN's rows fair: the outcome tells nothing of the group, and small groups are learned like large ones.

The information that the outcome carries of the group is the mean over rows of how far the outcome's distribution
inside the row's group is from that over all patients. Rows that were asked for a group give it, as a running mean, and
are pulled to where it is smaller, a row of a small group no harder than any other: else the noise of few rows drowns
what the critic teaches about the outcome. A model trained on such rows finds no difference between groups that the
other columns do not make, and where these do make one, it learns to make up for it.

Of the conditions that ask for a group, each group has the more the worse the critic finds its generated rows. How often
groups and outcomes come in a cohort is settled when its rows are drawn (`synth.generators.fair_draws`).

Source: Ramachandranpillai, Sikder, Bergström & Heintz 2024 (arXiv 2404.13634), Bt-GAN, for both aims; the estimate of
the information and the score of a group instead of a row, which a critic of packed rows can give, are ours.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from synth.generators.activations import Stretches
from synth.generators.duel import draw_mixed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from synth.generators.conditions import Conditions
    from synth.generators.duel import Duel
    from synth.generators.mixed_rows import Layout, MixedRows

_MEMORY = 1000.0  # rows of a group that its running mean looks back on
_LEAST = 1e-3  # share of an outcome below which it counts as that
_JUDGED = 20  # judgements of each group at a look
_MOST_OFTEN = 2.0  # deviations of score up to which a worse group is asked for more often


class Parity:
    """Pulls generated rows to an outcome that tells nothing of the group; see `synth.generators.duel.Guide`.

    Args:
        layout: of the rows.
        conditions: of the table.
        group: the plain choice that is the group.
        outcome: the plain choice that is the outcome.
        strength: the factor before the information's gradient, >= 0.
    """

    def __init__(self, layout: Layout, conditions: Conditions, *, group: int, outcome: int, strength: float) -> None:
        starts = Stretches.of(layout.sizes).starts
        self.groups = np.flatnonzero((conditions.column == group) & (conditions.counts > 0))
        self.outcome = slice(*(len(layout.modal) + starts[outcome] + np.array([0, layout.sizes[outcome]])))
        counts = conditions.counts[conditions.column == outcome]
        self.overall = np.maximum(counts / counts.sum(), _LEAST)
        self.strength = strength
        self.usual = conditions.trained[self.groups]
        self.shares = np.tile(self.overall, (len(self.groups), 1))

    def pull(self, rows: NDArray[np.float32], asked: NDArray[np.int64]) -> NDArray[np.float32]:
        """Returns the gradient of the information by rows; 0 for rows that were asked for something else."""
        pulled = np.zeros_like(rows)
        for g, condition in enumerate(self.groups):
            mine = np.flatnonzero(asked == condition)
            if not len(mine):
                continue
            kept = np.exp(-len(mine) / _MEMORY)
            self.shares[g] = kept * self.shares[g] + (1 - kept) * rows[mine, self.outcome].mean(axis=0)
            excess = np.log(np.maximum(self.shares[g], _LEAST) / self.overall)
            pulled[mine, self.outcome] = self.strength * excess / len(rows)
        return pulled

    def look(self, duel: Duel, training: MixedRows, rng: np.random.Generator) -> None:
        """Asks for each group the oftener the further the critic's scores of its real and generated rows are apart."""
        averaged = duel.averaged(rng)
        pack, worse, spread = duel.sizes.pack, [], []
        for condition in self.groups:
            asked = np.full(pack * _JUDGED, condition)
            only = np.where(np.arange(len(duel.conditions.counts)) == condition, 1.0, 0.0)
            made = draw_mixed(averaged, duel.layout, replace(duel.conditions, natural=only), pack * _JUDGED, rng)
            real = training.at(duel.conditions.draw_rows(asked, len(asked), rng))
            scores = [duel.scores(rows, asked) for rows in (real, made)]
            worse.append(float(scores[0].mean() - scores[1].mean()))
            spread.append(float(torch.cat(scores).std()))
        apart = np.array(worse) / max(float(np.mean(spread)), 1e-9)
        oftener = self.usual * np.exp(np.clip(apart - apart.mean(), -_MOST_OFTEN, _MOST_OFTEN))
        trained = duel.conditions.trained.copy()
        trained[self.groups] = oftener / oftener.sum() * self.usual.sum()
        duel.conditions = replace(duel.conditions, trained=trained)

    def state(self) -> dict[str, Any]:
        """The running means."""
        return {"shares": torch.from_numpy(self.shares)}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to a state."""
        self.shares = state["shares"].numpy()
