"""The recurrent generator and critic of patients' series.

The generator draws who a patient is before it draws hours: static attributes, a level, a trend and a wont to be
measured for each variable come from the patient's own noise, and a recurrent network adds what happens on the way. A
network that has to keep a level in its recurrent state forgets it, which shrinks the differences between patients. The
critic reads hours in order and, beside them, each patient's levels, trends and rates of measurement.

Source: Kuo et al. 2022 (arXiv 2203.06369) for recurrent networks over mixed columns with static attributes beside them;
the explicit patient level is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from synth.generators.series_moments import Sequences, summaries

if TYPE_CHECKING:
    from torch import Tensor

_FACTORS = 32  # of an hour's noise shared between variables


@dataclass(frozen=True, slots=True)
class Shape:
    """Widths.

    Attributes:
        steps: T, a multiple of `stride`.
        owners: column of each channel of the series, C entries.
        columns: F.
        static_owners: column of each static channel, Cs entries.
        static_columns: Fs.
        classes: begin and end of the channels of each categorical series column.
        static_classes: likewise of static ones.
        hidden: width of both networks.
        stride: hours a recurrent step.
    """

    steps: int
    owners: tuple[int, ...]
    columns: int
    static_owners: tuple[int, ...]
    static_columns: int
    classes: tuple[tuple[int, int], ...]
    static_classes: tuple[tuple[int, int], ...]
    hidden: int
    stride: int


@dataclass(frozen=True, slots=True)
class Raw:
    """What the generator gives before anything is cut to yes and no.

    Attributes:
        values: float32 [N, T, C].
        presence: float32 [N, T, F]; measured where above zero.
        static: float32 [N, Cs].
        knowledge: float32 [N, Fs]; known where above zero.
    """

    values: Tensor
    presence: Tensor
    static: Tensor
    knowledge: Tensor


def yes_or_no(scores: Tensor) -> Tensor:
    """1 where above zero, else 0; the gradient is that of the logistic function (straight-through)."""
    soft = torch.sigmoid(scores)
    return (scores > 0).float() + soft - soft.detach()


class SeriesGenerator(nn.Module):
    """Noise → raw series."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        C, F, H = len(shape.owners), shape.columns, shape.hidden
        self.noise = H
        self.trunk = nn.Sequential(nn.Linear(H, 2 * H), nn.LeakyReLU(0.2), nn.Linear(2 * H, 2 * H), nn.LeakyReLU(0.2))
        self.patient = nn.Linear(3 * H, 2 * C + F + len(shape.static_owners) + shape.static_columns)
        self.start = nn.Linear(3 * H, H)
        self.recurrent = nn.GRU(H + H // 2, H, batch_first=True)
        self.hours = nn.Linear(H, shape.stride * (C + F))
        self.shared = nn.Linear(_FACTORS, C + F, bias=False)
        self.own = nn.Parameter(torch.full((C + F,), -1.0))
        self.by_hour = nn.Parameter(torch.zeros(shape.steps, F))

    def forward(self, patients: int, steps: int, rng: torch.Generator) -> Raw:
        """Draws raw series of a number of patients over the first steps, a multiple of the stride."""
        shape = self.shape
        C, F, H = len(shape.owners), shape.columns, shape.hidden
        own = torch.randn(patients, H, generator=rng)
        own = torch.cat([own, self.trunk(own)], 1)
        widths = [C, C, F, len(shape.static_owners), shape.static_columns]
        level, trend, wont, static, knowledge = self.patient(own).split(widths, 1)
        turns = steps // shape.stride
        noise = torch.randn(patients, turns, H // 2, generator=rng)
        start = self.start(own)
        states, _ = self.recurrent(
            torch.cat([noise, start.unsqueeze(1).expand(-1, turns, -1)], 2), torch.tanh(start).unsqueeze(0)
        )
        hours = self.hours(states).reshape(patients, steps, C + F)
        hours = hours + self.shared(torch.randn(patients, steps, _FACTORS, generator=rng))
        hours = hours + nn.functional.softplus(self.own) * torch.randn(patients, steps, C + F, generator=rng)
        time = torch.linspace(-1, 1, shape.steps)[:steps].reshape(1, -1, 1)
        values = hours[..., :C] + level.unsqueeze(1) + trend.unsqueeze(1) * time
        presence = hours[..., C:] + wont.unsqueeze(1) + self.by_hour[:steps]
        return Raw(_classes(values, shape.classes), presence, _classes(static, shape.static_classes), knowledge)


class SeriesCritic(nn.Module):
    """Series → how real each looks."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        C, F, H = len(shape.owners), shape.columns, shape.hidden
        self.shape = shape
        self.owners = torch.tensor(shape.owners)
        self.recurrent = nn.GRU(shape.stride * (C + F + 1), H, batch_first=True)
        beside = 3 * C + F + len(shape.static_owners) + shape.static_columns
        self.head = nn.Sequential(
            nn.Linear(2 * H + beside, 2 * H),
            nn.LeakyReLU(0.2),
            nn.Linear(2 * H, 2 * H),
            nn.LeakyReLU(0.2),
            nn.Linear(2 * H, 1),
        )

    def forward(self, cohort: Sequences) -> Tensor:
        """Returns float32 [N]."""
        hours = torch.cat([cohort.values, cohort.present, cohort.alive.unsqueeze(2)], 2)
        states, last = self.recurrent(hours.reshape(len(hours), -1, self.recurrent.input_size))
        found = summaries(cohort, self.owners)
        spread = (found["left"] ** 2).sum(1) / found["count"].clamp(min=1)
        beside = [found["level"], found["trend"], spread, found["rate"], cohort.static, cohort.known]
        score: Tensor = self.head(torch.cat([states.mean(1), last[0], *beside], 1))
        return score.squeeze(1)


def _classes(values: Tensor, classes: tuple[tuple[int, int], ...]) -> Tensor:
    """Cuts the channels of each category to one, straight through a softmax."""
    if not classes:
        return values
    parts, at = [], 0
    for begin, end in classes:
        soft = torch.softmax(values[..., begin:end], -1)
        hard = nn.functional.one_hot(soft.argmax(-1), end - begin).float()
        parts += [values[..., at:begin], hard + soft - soft.detach()]
        at = end
    return torch.cat([*parts, values[..., at:]], -1)
