"""A table GAN's training from the first step to the rows it draws: looked at, stopped in time, and resumed.

Every `LOOK` steps a sample of the averaged generator is held against rows that were kept back; training ends when no
look has been better for a while, and the best generator is what is kept. Looks before the generator has settled do not
count: columns drawn as if they had nothing to do with each other come near the rows that were kept back, and what comes
next is further away before it is nearer. Where a file is named, each look leaves there all that is needed to go on: a
training that was cut off goes on from its last look and ends as it would have.
"""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clinical.progress import show_progress
from synth.generators.duel import draw_mixed
from synth.generators.held_out import HeldOut
from synth.generators.unfinished import read_unfinished, write_unfinished

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from synth.generators.duel import Duel
    from synth.generators.mixed_rows import MixedRows
    from synth.generators.networks import Generator

LOOK = 100  # steps
SETTLED = 1000  # steps: as many as the averaged weights look back on; before, they are near where they began
_LARGEST_SAMPLE = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How long a training lasts.

    Attributes:
        steps: at the most.
        patience: looks without a better one after which it ends.
    """

    steps: int
    patience: int


def train(
    duel: Duel, training: MixedRows, held: MixedRows, course: Course, rng: np.random.Generator, file: Path | None
) -> Generator:
    """Trains until the course ends.

    Args:
        duel: before its first step; trained afterwards.
        training: rows to learn from.
        held: rows to stop by; none to go to the end.
        course: how long.
        rng: decides everything.
        file: where what is needed to go on is kept while this runs; removed at its end.

    Returns:
        The generator to draw from.

    Raises:
        ValueError: the file holds an unfinished training of another table, seed or settings, or is damaged.
    """
    stops = HeldOut.of(duel.layout, held) if len(held) else None
    run = _Run(duel, training, stops, min(10 * len(held), _LARGEST_SAMPLE))
    identity = _identity(duel, training, held, course, rng)
    if file is not None and file.exists():
        run.restore(read_unfinished(file, identity), rng)
    with show_progress("training", total=course.steps) as advance:
        advance(duel.steps)
        while duel.steps < course.steps and run.waited < course.patience:
            before = duel.steps
            for _ in range(min(LOOK, course.steps - duel.steps)):
                duel.step(training, rng)
            run.look(rng)
            if file is not None:
                write_unfinished(file, identity, run.state(rng))
            advance(duel.steps - before)
    if file is not None:
        file.unlink(missing_ok=True)
    return run.best


class _Run:
    """A training between two looks."""

    def __init__(self, duel: Duel, training: MixedRows, held: HeldOut | None, sample: int) -> None:
        self.duel, self.training, self.held, self.sample = duel, training, held, sample
        self.best: Generator = copy.deepcopy(duel.generator).eval()
        self.distance, self.waited = float("inf"), 0

    def look(self, rng: np.random.Generator) -> None:
        """Holds a sample of the averaged generator against the held-out rows."""
        if self.duel.guide is not None:
            self.duel.guide.look(self.duel, self.training, rng)
        now = self.duel.averaged(rng)
        distance = 0.0
        if self.held is not None:
            distance = self.held.distance(draw_mixed(now, self.duel.layout, self.duel.conditions, self.sample, rng))
        if self.held is None or self.duel.steps <= SETTLED or distance < self.distance:
            self.best, self.distance, self.waited = now, distance, 0
        else:
            self.waited += 1

    def state(self, rng: np.random.Generator) -> dict[str, Any]:
        return {
            "duel": self.duel.state(),
            "best": self.best.state_dict(),
            "looks": [self.distance, self.waited],
            "randomness": json.dumps(rng.bit_generator.state),
        }

    def restore(self, state: dict[str, Any], rng: np.random.Generator) -> None:
        self.duel.restore(state["duel"])
        self.best.load_state_dict(state["best"])
        self.distance, self.waited = state["looks"]
        rng.bit_generator.state = json.loads(state["randomness"])


def _identity(duel: Duel, training: MixedRows, held: MixedRows, course: Course, rng: np.random.Generator) -> str:
    """What tells one training from another before its first step: the rows as written, settings, and randomness."""
    digest = hashlib.sha256(repr((duel.sizes, course, duel.layout.sizes)).encode())
    digest.update(json.dumps(rng.bit_generator.state).encode())
    for rows in (training, held):
        digest.update(rows.scalars.tobytes())
        digest.update(rows.parts.tobytes())
    return digest.hexdigest()
