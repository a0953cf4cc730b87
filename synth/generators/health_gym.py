"""Patients' time series by a recurrent GAN in the manner of Health Gym; it is not private.

Static attributes, the length of the stay, hourly values and who is measured when come from one network. What Health
Gym does is kept: the gradient penalty of 10, five steps of the critic to one of the generator, batches of 128, horizons
that grow up to the whole, correlations held to the real ones, missing cells as channels. Ours is the patient's own
level and trend (`synth.generators.series_networks`), moments between and within patients, and a last correction: after
training each column's distribution and rate of measurement are set to the real ones by their order, which no
rank correlation notices.

Source: Kuo et al. 2022, "The Health Gym" (arXiv 2203.06369).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from clinical.progress import show_progress
from privacy.statement import PrivacyStatement
from synth.admission import refuse_private
from synth.generators.seeding import lent_randomness
from synth.generators.series_coding import Coding
from synth.related_tables import admit_tables
from synth.series import Grid, from_values, grid_of, table_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd
    import torch
    from numpy.typing import NDArray

    from synth.account import Account
    from synth.generators.series_corrections import Corrections
    from synth.generators.series_moments import Sequences
    from synth.generators.series_networks import Raw, SeriesGenerator, Shape
    from synth.relations import RelatedSpec

    Array = NDArray[np.float64]

_CHUNK = 256  # patients drawn at once
_CORRECTING = 4096  # patients drawn to learn the corrections from
_ALWAYS = 1e9  # above every threshold


@dataclass(frozen=True, slots=True)
class HealthGym:
    """Settings.

    Attributes:
        steps: of the generator, the most.
        batch: patients a step of the critic.
        hidden: width of both networks.
        rate: step size of both.
        matching: weight of the moments beside the critic.
        patience: looks without progress, every 25 steps, before training ends.
    """

    steps: int = 300
    batch: int = 128
    hidden: int = 64
    rate: float = 0.001
    matching: float = 10.0
    patience: int = 12

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.hidden, self.patience) < 1 or self.rate <= 0 or self.matching < 0:
            raise ValueError(f"health-gym needs positive settings, got {self}")

    @property
    def licence(self) -> str:
        """Wardround's own."""
        return ""

    def fit(
        self,
        tables: Mapping[str, pd.DataFrame],
        spec: RelatedSpec,
        *,
        rng: np.random.Generator,
        privacy: Account | None,
    ) -> FittedHealthGym:
        """Trains on patients with one series: see `synth.generators.RelatedGenerator`."""
        return self.fit_kept(tables, spec, rng=rng, privacy=privacy, file=None)

    def fit_kept(
        self,
        tables: Mapping[str, pd.DataFrame],
        spec: RelatedSpec,
        *,
        rng: np.random.Generator,
        privacy: Account | None,
        file: Path | None,
    ) -> FittedHealthGym:
        """Does the same and goes on where it was cut off: see `synth.generators.Resumable`."""
        import torch

        from synth.generators.series_corrections import Corrections

        refuse_private("health-gym", privacy)
        series = spec.one_series("health-gym")
        admitted = admit_tables(tables, spec)
        grid = grid_of(admitted, series)
        coded = Coding.learn(spec, series, admitted.patients, grid)
        shape = coded.shape(hidden=self.hidden)
        real = coded.sequences(admitted.patients, grid, shape.steps, rng)
        with lent_randomness(rng) as seed:
            generator = self._train(real, shape, coded, seed, file)
            raw = _drawn(generator, shape, _CORRECTING, torch.Generator().manual_seed(seed))
        corrections = Corrections.learn(raw, real, shape, coded.lengths)
        return FittedHealthGym(coded, shape, generator, corrections)

    def _train(self, real: Sequences, shape: Shape, coded: Coding, seed: int, file: Path | None) -> SeriesGenerator:
        from synth.generators.series_training import Schedule, Training, train

        schedule = Schedule(
            steps=self.steps, batch=self.batch, rate=self.rate, matching=self.matching, patience=self.patience
        )
        training = Training(real, shape, schedule, coded.lengths)
        with show_progress("health-gym", total=self.steps) as told:
            generator, _ = train(training, seed, file=file, told=told)
        return generator


@dataclass(frozen=True, slots=True)
class FittedHealthGym:
    """A trained generator; it holds what it learned of patients, so it is never saved.

    Attributes:
        coded: columns and scales.
        shape: of the network.
        generator: the network.
        corrections: by which columns get the real distributions.
    """

    coded: Coding
    shape: Shape
    generator: SeriesGenerator
    corrections: Corrections

    @property
    def statement(self) -> PrivacyStatement:
        """That there is no guarantee."""
        return PrivacyStatement.none(steps=0)

    def sample(self, patients: int, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
        """Draws patients: see `synth.generators.FittedRelated`."""
        import pandas as pd
        import torch

        seeded = torch.Generator().manual_seed(int(rng.integers(2**62)))
        raw = _never_missing(_drawn(self.generator, self.shape, patients, seeded), self.coded, high=_ALWAYS)
        made = self.corrections.finished(raw, self.shape, self.coded.lengths)
        keys, index = np.arange(1, patients + 1), pd.RangeIndex(patients)
        static = self.coded.static.decode(_doubles(made.static)[:, None], _booleans(made.known)[:, None])[:, 0]
        series, first = self.coded.series, self.coded.spec.patients
        values = self.coded.hourly.decode(_doubles(made.values), _booleans(made.present))[:, : series.most_rows]
        grid = Grid(series, values, made.alive.sum(1).numpy().astype(np.int64))
        cells = {first.spec.key: pd.Series(keys, index=index)}
        cells |= {c.name: from_values(static[:, f], c, index) for f, c in enumerate(first.spec.columns)}
        return {first.name: pd.DataFrame(cells), series.name: table_of(grid, keys)}


def _drawn(generator: SeriesGenerator, shape: Shape, patients: int, rng: torch.Generator) -> Raw:
    """Raw series of any number of patients."""
    import torch

    from synth.generators.series_networks import Raw

    with torch.no_grad():
        parts = [generator(min(_CHUNK, patients - begin), shape.steps, rng) for begin in range(0, patients, _CHUNK)]
    return Raw(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Raw)))


def _never_missing(raw: Raw, coded: Coding, *, high: float) -> Raw:
    """Sets the scores of columns that may not be missing so high that nothing counts them as missing."""
    import torch

    hourly, static = (
        torch.tensor([not column.missing for column in channels.columns]) for channels in (coded.hourly, coded.static)
    )
    return replace(
        raw,
        presence=torch.where(hourly, high, raw.presence),
        knowledge=torch.where(static, high, raw.knowledge),
    )


def _doubles(tensor: torch.Tensor) -> Array:
    found: Array = tensor.numpy().astype(np.float64)
    return found


def _booleans(tensor: torch.Tensor) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = tensor.numpy() > 0.5
    return found
