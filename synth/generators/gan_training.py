"""A table GAN's training from the first step to the rows it draws: looked at, stopped in time, and resumed.

Every `LOOK` steps a sample of the averaged generator is held against rows that were kept back; training ends when no
look has been better for a while, and the best generator is what is kept. Where a file is named, each look leaves there
all that is needed to go on: a training that was cut off goes on from its last look and ends as it would have.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from clinical.durability import flush_folder
from clinical.progress import show_progress
from synth.generators.duel import draw_mixed
from synth.generators.held_out import HeldOut

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from synth.generators.duel import Duel
    from synth.generators.mixed_rows import MixedRows
    from synth.generators.networks import Generator

LOOK = 100  # steps
_LARGEST_SAMPLE = 5000
_DIGEST = 64  # letters of a SHA-256


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
        run.restore(_read(file, identity), rng)
    with show_progress("training", total=course.steps) as advance:
        advance(duel.steps)
        while duel.steps < course.steps and run.waited < course.patience:
            before = duel.steps
            for _ in range(min(LOOK, course.steps - duel.steps)):
                duel.step(training, rng)
            run.look(rng)
            if file is not None:
                _write(file, identity, run.state(rng))
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
        if self.held is None or distance < self.distance:
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


def _write(file: Path, identity: str, state: dict[str, Any]) -> None:
    """Replaces the file at once, readable by its owner alone: what it holds was fitted to patients."""
    content = io.BytesIO()
    torch.save(state, content)
    partial = file.with_name(file.name + ".partial")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(f"{identity}{hashlib.sha256(content.getvalue()).hexdigest()}".encode())
        stream.write(content.getvalue())
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(file)
    flush_folder(file.parent)


def _read(file: Path, identity: str) -> dict[str, Any]:
    written = file.read_bytes()
    content = written[2 * _DIGEST :]
    if written[_DIGEST : 2 * _DIGEST] != hashlib.sha256(content).hexdigest().encode():
        raise ValueError(f"{file} is no unfinished training: delete it to begin anew")
    if written[:_DIGEST] != identity.encode():
        raise ValueError(
            f"{file} is an unfinished training of another table or plan: finish that one, or delete the file"
        )
    state: dict[str, Any] = torch.load(io.BytesIO(content), weights_only=True)
    return state
