"""Trains the generator of series against its critic: WGAN-GP, growing horizons, moments held to the real ones.

The generator that is kept is a running average of weights, taken where its moments were nearest to the real cohort's;
training ends early when they have not come nearer for a while. What is needed to go on after an interruption lies in
one file, replaced whole and removed at the end: it is the state of a model of patients and stays where they are.

Source: Kuo et al. 2022 (arXiv 2203.06369), after Gulrajani et al. 2017 (arXiv 1704.00028).
"""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch

from synth.generators.series_moments import Moments, Sequences, apart, moments
from synth.generators.series_networks import SeriesCritic, SeriesGenerator, yes_or_no
from synth.generators.unfinished import read_unfinished, write_unfinished

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from synth.generators.series_networks import Raw, Shape

    Lengths = Callable[[Tensor], Tensor]

_CRITIC_STEPS = 5
_GP = 10.0
_WIDER = 2  # batches of the critic that the generator's moments are taken over
_KEPT = 0.98  # of the average of weights, a step
_STAGES = (0.25, 0.5, 1.0)  # of the horizon
_LOOK_EVERY, _LOOK_PATIENTS = 25, 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long and how fast.

    Attributes:
        steps: of the generator, the most.
        batch: patients a step of the critic; the generator's moments need more.
        rate: of Adam, for both networks.
        matching: weight of the moments beside the critic's judgement.
        patience: looks without progress before the end; a look is taken every 25 steps.
    """

    steps: int
    batch: int
    rate: float
    matching: float
    patience: int


@dataclass
class Duel:
    """Both networks with what their training has come to; everything in it goes into a checkpoint."""

    generator: SeriesGenerator
    critic: SeriesCritic
    average: SeriesGenerator
    best: dict[str, Any]
    climbs: torch.optim.Optimizer
    judges: torch.optim.Optimizer
    rng: torch.Generator
    step: int = 0
    nearest: float = float("inf")
    looks_since: int = 0

    def state(self) -> dict[str, Any]:
        """Everything, as tensors and numbers."""
        parts = ("generator", "critic", "average", "climbs", "judges")
        kept: dict[str, Any] = {part: getattr(self, part).state_dict() for part in parts}
        numbers = {name: getattr(self, name) for name in ("best", "step", "nearest", "looks_since")}
        return kept | numbers | {"rng": self.rng.get_state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes up a state."""
        for part in ("generator", "critic", "average", "climbs", "judges"):
            getattr(self, part).load_state_dict(state[part])
        for name in ("best", "step", "nearest", "looks_since"):
            setattr(self, name, state[name])
        self.rng.set_state(state["rng"])


@dataclass(frozen=True, slots=True)
class Training:
    """What is trained on.

    Attributes:
        real: the cohort.
        shape: of the networks.
        schedule: of the steps.
        lengths: from static channels to hours of each patient, int64 [N].
    """

    real: Sequences
    shape: Shape
    schedule: Schedule
    lengths: Lengths

    def steps_of(self, step: int) -> int:
        """The horizon at a step of training: a quarter, a half, then all of it."""
        share = step / max(self.schedule.steps, 1)
        stage = _STAGES[0] if share < 0.1 else _STAGES[1] if share < 0.25 else _STAGES[2]
        stride = self.shape.stride
        return max(stride, int(self.shape.steps * stage) // stride * stride)

    def identity(self, seed: int) -> str:
        """What tells one training from another before its first step, as a SHA-256."""
        digest = hashlib.sha256(repr((self.shape, self.schedule, seed)).encode())
        for field in fields(Sequences):
            digest.update(getattr(self.real, field.name).numpy().tobytes())
        return digest.hexdigest()

    def moments_of(self, cohort: Sequences) -> Moments:
        """The moments of a cohort of this shape."""
        return moments(cohort, torch.tensor(self.shape.owners), torch.tensor(self.shape.static_owners))


def train(
    training: Training, seed: int, *, file: Path | None, told: Callable[[int], object]
) -> tuple[SeriesGenerator, int]:
    """Trains to the end.

    Args:
        training: what on.
        seed: decides everything; weights are made from torch's global state, which the caller lends.
        file: where what is needed to go on is kept while this runs; None for nowhere.
        told: is called with the number of steps done.

    Returns:
        The generator and the steps it took.

    Raises:
        ValueError: the file is damaged or belongs to another training.
    """
    duel = _begin(training, seed)
    identity = training.identity(seed)
    if file is not None and file.exists():
        duel.restore(read_unfinished(file, identity))
        told(duel.step)
    schedule = training.schedule
    stage, real = 0, None
    while duel.step < schedule.steps and duel.looks_since < schedule.patience:
        if training.steps_of(duel.step) != stage or real is None:
            stage = training.steps_of(duel.step)
            data = training.real.until(stage)
            real = training.moments_of(data)
        for _ in range(_CRITIC_STEPS):
            _judge(duel, training, data)
        _climb(duel, training, real, stage)
        duel.step += 1
        told(1)
        if duel.step % _LOOK_EVERY == 0:
            if stage == training.shape.steps:
                _look(duel, training, real)
            if file is not None:
                write_unfinished(file, identity, duel.state())
    if duel.best:
        duel.average.load_state_dict(duel.best)
    if file is not None:
        file.unlink(missing_ok=True)
    return duel.average.eval(), duel.step


def finished(raw: Raw, training_lengths: Lengths, shape: Shape) -> Sequences:
    """Cuts raw series to what is measured and alive; gradients go straight through."""
    steps = raw.values.shape[1]
    known = yes_or_no(raw.knowledge)
    static = raw.static * known[:, torch.tensor(shape.static_owners)]
    alive = (torch.arange(steps) < training_lengths(raw.static.detach()).unsqueeze(1)).float()
    present = yes_or_no(raw.presence) * alive.unsqueeze(2)
    return Sequences(raw.values * present[..., torch.tensor(shape.owners)], present, alive, static, known)


def _begin(training: Training, seed: int) -> Duel:
    generator, critic = SeriesGenerator(training.shape), SeriesCritic(training.shape)
    adams = [
        torch.optim.Adam(net.parameters(), lr=training.schedule.rate, betas=(0.5, 0.9)) for net in (generator, critic)
    ]
    rng = torch.Generator().manual_seed(seed)
    return Duel(generator, critic, copy.deepcopy(generator), {}, adams[0], adams[1], rng)


def _judge(duel: Duel, training: Training, data: Sequences) -> None:
    """One step of the critic, under its gradient penalty."""
    batch = training.schedule.batch
    rows = torch.randint(len(data.values), (batch,), generator=duel.rng)
    real = data.chosen(rows)
    with torch.no_grad():
        raw = duel.generator(batch, data.values.shape[1], duel.rng)
        made = finished(raw, training.lengths, training.shape)
    share = torch.rand(batch, generator=duel.rng)
    between = _between(real, made, share)
    score = duel.critic(between)
    parts = [getattr(between, field.name) for field in fields(Sequences)]
    slopes = torch.autograd.grad(score.sum(), parts, create_graph=True)
    norm = (sum((slope.flatten(1) ** 2).sum(1) for slope in slopes) + 1e-12).sqrt()  # type: ignore[union-attr]
    loss = duel.critic(made).mean() - duel.critic(real).mean() + _GP * ((norm - 1) ** 2).mean()
    duel.judges.zero_grad()
    loss.backward()
    duel.judges.step()


def _between(real: Sequences, made: Sequences, share: Tensor) -> Sequences:
    """Points on the lines between real and made patients, which gradients are taken at."""
    points = {}
    for field in fields(Sequences):
        one, other = getattr(real, field.name), getattr(made, field.name)
        part = share.reshape(-1, *[1] * (one.dim() - 1))
        points[field.name] = (part * one + (1 - part) * other).requires_grad_()
    return Sequences(**points)


def _climb(duel: Duel, training: Training, real: Moments, steps: int) -> None:
    """One step of the generator, against the critic and towards the real moments."""
    raw = duel.generator(_WIDER * training.schedule.batch, steps, duel.rng)
    made = finished(raw, training.lengths, training.shape)
    parts = apart(training.moments_of(made), real)
    loss = -duel.critic(made).mean() + training.schedule.matching * torch.stack(list(parts.values())).sum()
    duel.climbs.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(duel.generator.parameters(), 10.0)
    duel.climbs.step()
    kept = min(_KEPT, (1 + duel.step) / (10 + duel.step))
    with torch.no_grad():
        for mean, weight in zip(duel.average.parameters(), duel.generator.parameters(), strict=True):
            mean.lerp_(weight, 1 - kept)


def _look(duel: Duel, training: Training, real: Moments) -> None:
    """Measures the average's moments on as many patients at every look, and remembers the nearest."""
    with torch.no_grad():
        rng = torch.Generator().manual_seed(0)
        raw = duel.average(_LOOK_PATIENTS, training.shape.steps, rng)
        found = apart(training.moments_of(finished(raw, training.lengths, training.shape)), real)
    distance = float(torch.stack(list(found.values())).sum())
    duel.looks_since += 1
    if distance < duel.nearest:
        duel.nearest, duel.looks_since = distance, 0
        duel.best = copy.deepcopy(duel.average.state_dict())
