"""Rows drawn so that every group comes as often as in the table, and every outcome as often in each.

A trained generator comes near both and meets neither. So more rows are drawn than are needed and each is kept while
rows of its group and outcome are still wanted; what does not come by itself is asked for by its group. A cohort's
outcome then tells nothing of the group beyond the rounding of a row.

Source: Kamiran & Calders 2012 (doi 10.1007/s10115-011-0463-8), reweighing by sampling, here of drawn rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from synth.generators.duel import draw_mixed
from synth.generators.mixed_rows import MixedRows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from synth.generators.conditions import Conditions
    from synth.generators.mixed_rows import Layout
    from synth.generators.networks import Generator

    Counts = NDArray[np.int64]

_TRIES = 8  # draws before groups are asked for, and again of each group
_MORE = 50  # rows beyond twice what is wanted, so that few are not drawn one by one


@dataclass(frozen=True, slots=True)
class FairDraw:
    """What rows are drawn from.

    Attributes:
        generator: trained, with fixed norms.
        layout: of its rows.
        conditions: of its training.
        group: the plain choice that is the group.
        outcome: the plain choice that is the outcome.
    """

    generator: Generator
    layout: Layout
    conditions: Conditions
    group: int
    outcome: int

    def __call__(self, rows: int, rng: np.random.Generator) -> MixedRows:
        """Draws rows; where a group or outcome does not come however often it is asked for, others stand in."""
        counts = [self.conditions.counts[self.conditions.column == choice] for choice in (self.group, self.outcome)]
        wanted = quotas(counts[0], counts[1], rows, rng)
        kept = [self._keep(wanted, self.conditions, rng) for _ in range(_TRIES)]
        for g, condition in enumerate(np.flatnonzero(self.conditions.column == self.group)):
            only = np.where(np.arange(len(self.conditions.counts)) == condition, 1.0, 0.0)
            asking = replace(self.conditions, natural=only)
            here = np.zeros_like(wanted)
            here[g] = wanted[g]
            kept += [self._keep(here, asking, rng) for _ in range(_TRIES)]
            wanted[g] = here[g]
        if short := int(wanted.sum()):
            kept.append(draw_mixed(self.generator, self.layout, self.conditions, short, rng))
        scalars, parts = (np.concatenate(each) for each in zip(*((k.scalars, k.parts) for k in kept), strict=True))
        return MixedRows(scalars, parts).at(rng.permutation(rows))

    def _keep(self, wanted: Counts, conditions: Conditions, rng: np.random.Generator) -> MixedRows:
        """Draws, keeps rows whose group and outcome are wanted, and takes them off what is."""
        short = int(wanted.sum())
        made = draw_mixed(self.generator, self.layout, conditions, 2 * short + _MORE if short else 0, rng)
        cell = made.parts[:, self.group] * wanted.shape[1] + made.parts[:, self.outcome]
        order = np.argsort(cell, kind="stable")
        counts = np.bincount(cell, minlength=wanted.size)
        place = np.empty(len(cell), dtype=np.int64)  # of each row among those of its cell
        place[order] = np.arange(len(cell)) - np.repeat(counts.cumsum() - counts, counts)
        kept = np.minimum(counts.reshape(wanted.shape), wanted)
        wanted -= kept
        return made.at(np.flatnonzero(place < kept.ravel()[cell]))


def quotas(groups: Counts, outcomes: Counts, rows: int, rng: np.random.Generator) -> Counts:
    """Divides rows among groups and outcomes as if neither told of the other: int64 [G, Y]; chance decides the rest."""
    exact = rows * np.outer(groups / groups.sum(), outcomes / outcomes.sum())
    found: Counts = np.floor(exact).astype(np.int64)
    left = exact - found
    short = rows - int(found.sum())
    if short:
        more = rng.choice(found.size, size=short, replace=False, p=(left / left.sum()).ravel())
        np.add.at(found.ravel(), more, 1)
    return found
