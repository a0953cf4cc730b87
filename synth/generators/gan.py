"""A conditional GAN of tables: what only three and more columns do together, learned without differential privacy.

Categories are choices, numbers are modes and distances from them, rare categories are asked for more often than they
come, and the critic judges several rows at once.

Source: Xu, Skoularidou, Cuesta-Infante & Veeramachaneni 2019 (arXiv 1907.00503), CTGAN.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from privacy.statement import PrivacyStatement
from synth.admission import admit, refuse_private
from synth.generators.conditions import Conditions
from synth.generators.mixed_rows import MixedRows, learn_layout

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from synth.account import Account
    from synth.admission import Admitted
    from synth.generators.duel import Guide
    from synth.generators.mixed_rows import Layout
    from synth.generators.networks import Generator
    from synth.spec import TableSpec

_HELD_OUT = 0.1  # share of patients that training is stopped by
_FEWEST_HELD_OUT = 100  # rows; with fewer, all are learned from and nothing stops the training
_MOST_COMPONENTS = 10_000  # of a row with every choice spelt out


@dataclass(frozen=True, slots=True)
class Gan:
    """Settings.

    Attributes:
        steps: of training at the most; each is one batch.
        batch: rows of a step, a multiple of `pack`.
        pack: rows that the critic judges together.
        noise: width of the noise that rows are made of.
        hidden: units of each of the two hidden layers of both networks.
        rate: of learning, > 0.
        patience: looks at held-out patients, 100 steps apart, without a better one after which training ends; the first
            1,000 steps do not count.
    """

    steps: int = 6000
    batch: int = 500
    pack: int = 2
    noise: int = 128
    hidden: int = 256
    rate: float = 2e-4
    patience: int = 25

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "pack", "noise", "hidden", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"gan needs {name} >= 1, got {getattr(self, name)}")
        if not self.rate > 0:
            raise ValueError(f"gan needs rate > 0, got {self.rate}")
        if self.batch % self.pack or self.batch < 2:
            raise ValueError(
                f"gan needs a batch of 2 rows or more that is a multiple of pack {self.pack}, got {self.batch}"
            )

    @property
    def licence(self) -> str:
        """Wardround's own."""
        return ""

    def fit(
        self, table: pd.DataFrame, spec: TableSpec, *, rng: np.random.Generator, privacy: Account | None
    ) -> FittedGan:
        """Trains both networks: see `synth.generators.Generator`."""
        return self.fit_kept(table, spec, rng=rng, privacy=privacy, file=None)

    def fit_kept(
        self,
        table: pd.DataFrame,
        spec: TableSpec,
        *,
        rng: np.random.Generator,
        privacy: Account | None,
        file: Path | None,
    ) -> FittedGan:
        """Trains both networks and keeps in a file what is needed to go on: see `synth.generators.Resumable`."""
        from synth.generators.duel import draw_mixed

        refuse_private("gan", privacy)
        learned = learn_rows(admit(table, spec), spec, rng)
        layout = learned.layout
        if not layout.sizes:
            return FittedGan(layout, _draw_nothing)
        generator = self.train(learned, rng, file, guide=None)
        return FittedGan(layout, partial(draw_mixed, generator, layout, learned.conditions))

    def train(self, learned: Learned, rng: np.random.Generator, file: Path | None, *, guide: Guide | None) -> Generator:
        """Trains both networks on rows with a choice at least; `guide` as for `synth.generators.duel.Duel`."""
        from synth.generators.duel import Duel, Sizes
        from synth.generators.gan_training import Course, train

        sizes = Sizes(batch=self.batch, pack=self.pack, noise=self.noise, hidden=self.hidden, rate=self.rate)
        duel = Duel(learned.layout, learned.conditions, sizes, rng, guide)
        course = Course(steps=self.steps, patience=self.patience)
        return train(duel, learned.training, learned.held, course, rng, file)


@dataclass(frozen=True, slots=True)
class Learned:
    """A table made ready for training.

    Attributes:
        layout: how its rows are written.
        conditions: which categories may be asked for, in training rows.
        training: rows to learn from.
        held: rows of other patients, to stop by; none where there are too few.
    """

    layout: Layout
    conditions: Conditions
    training: MixedRows
    held: MixedRows


def learn_rows(admitted: Admitted, spec: TableSpec, rng: np.random.Generator) -> Learned:
    """Writes a table as numbers and choices and holds patients back.

    Raises:
        ValueError: a row would be too wide; names the widest column.
    """
    layout = learn_layout(admitted.rows, spec)
    plain = layout.sizes[: len(layout.plain)]
    if layout.width + sum(plain) > _MOST_COMPONENTS:
        widest = max(layout.plain, key=lambda choice: choice.parts)
        raise ValueError(
            f"column {spec.columns[widest.column].name!r} holds {widest.parts} different categories, more than a GAN "
            f"can learn (a row may have {_MOST_COMPONENTS} components): merge its categories, or leave the column out"
        )
    rows = layout.encode(admitted.rows, rng)
    held = _held_out(admitted, rng)
    training = rows.at(np.flatnonzero(~held))
    conditions = Conditions.of(training.parts[:, : len(plain)], plain)
    return Learned(layout, conditions, training, rows.at(np.flatnonzero(held)))


def _held_out(admitted: Admitted, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which rows are held back: all of a patient or none."""
    N = len(admitted.rows)
    owner = np.arange(N) if admitted.patients is None else admitted.patients.factorize()[0]
    patients = int(owner.max()) + 1
    chosen = rng.permutation(patients)[: round(_HELD_OUT * patients)]
    held: NDArray[np.bool_] = np.isin(owner, chosen)
    return held if held.sum() >= _FEWEST_HELD_OUT else np.zeros(N, dtype=bool)


@dataclass(frozen=True, slots=True)
class FittedGan:
    """A trained generator; it was fitted to real rows without protection, so it is never saved.

    Attributes:
        layout: how rows are written.
        draw: makes so many rows of it.
    """

    layout: Layout
    draw: Callable[[int, np.random.Generator], MixedRows]

    @property
    def statement(self) -> PrivacyStatement:
        """That there is no guarantee."""
        return PrivacyStatement.none(steps=0)

    def sample(self, rows: int, rng: np.random.Generator) -> pd.DataFrame:
        """Draws rows: see `synth.generators.Fitted`."""
        return self.layout.decode(self.draw(rows, rng))


def _draw_nothing(rows: int, rng: np.random.Generator) -> MixedRows:
    """Draws rows of a table whose columns all hold a single value."""
    del rng
    return MixedRows(np.zeros((rows, 0), dtype=np.float32), np.zeros((rows, 0), dtype=np.int32))
