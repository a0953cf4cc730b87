"""Admitted patients and their series as the tensors that networks see, by scales learned from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from synth.columns import Column
from synth.generators.scales import Channels
from synth.series import as_values

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from numpy.typing import NDArray

    from synth.generators.series_moments import Sequences
    from synth.generators.series_networks import Shape
    from synth.relations import NamedTable, RelatedSpec
    from synth.series import Grid

    Array = NDArray[np.float64]

_LENGTH = "hours of the stay"  # a static column beside the specification's
_STRIDE = 4  # hours a recurrent step


@dataclass(frozen=True, slots=True)
class Coding:
    """Columns as channels: of the series, and of patients with the length of their stay last."""

    spec: RelatedSpec
    series: NamedTable
    hourly: Channels
    static: Channels

    @staticmethod
    def learn(spec: RelatedSpec, series: NamedTable, patients: pd.DataFrame, grid: Grid) -> Coding:
        """Learns the scales of all columns."""
        columns = (*spec.patients.spec.columns, Column(_LENGTH, "integer", low=1, high=series.most_rows))
        values = static_values(patients, grid, spec)
        return Coding(
            spec, series, Channels.learn(series.measured, grid.cells), Channels.learn(columns, values[:, None])
        )

    def shape(self, *, hidden: int) -> Shape:
        """What networks of a width need to know of the columns."""
        from synth.generators.series_networks import Shape

        return Shape(
            steps=-(-self.series.most_rows // _STRIDE) * _STRIDE,
            owners=tuple(self.hourly.owners.tolist()),
            columns=len(self.hourly.columns),
            static_owners=tuple(self.static.owners.tolist()),
            static_columns=len(self.static.columns),
            classes=self.hourly.classes,
            static_classes=self.static.classes,
            hidden=hidden,
            stride=_STRIDE,
        )

    def sequences(self, patients: pd.DataFrame, grid: Grid, steps: int, rng: np.random.Generator) -> Sequences:
        """The cohort as tensors, filled up to a whole number of strides."""
        import torch

        from synth.generators.series_moments import Sequences

        static = static_values(patients, grid, self.spec)
        filled = [(0, 0), (0, steps - self.series.most_rows), (0, 0)]
        parts = (
            np.pad(self.hourly.encode(grid.cells, rng), filled),
            np.pad((~np.isnan(grid.cells)).astype(float), filled),
            np.pad(grid.alive.astype(float), filled[:2]),
            self.static.encode(static[:, None], rng)[:, 0],
            (~np.isnan(static)).astype(float),
        )
        return Sequences(*(torch.from_numpy(part).float() for part in parts))

    def lengths(self, static: torch.Tensor) -> torch.Tensor:
        """Hours of each patient from static channels, int64 [N]."""
        import torch

        scale = self.static.scales[-1]
        assert scale is not None
        hours = np.rint(scale.decode(static[:, -1].numpy().astype(np.float64)))
        return torch.from_numpy(np.clip(hours, 1, self.series.most_rows).astype(np.int64))


def static_values(patients: pd.DataFrame, grid: Grid, spec: RelatedSpec) -> Array:
    """Patients' own columns and the length of their stay, float64 [N, Fs]."""
    columns = [as_values(patients[column.name], column) for column in spec.patients.spec.columns]
    return np.column_stack([*columns, grid.lengths])
