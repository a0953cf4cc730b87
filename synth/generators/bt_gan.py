"""A table GAN whose rows are fair between groups: `gan` under an information constraint, drawn by quotas of groups.

What it does to the outcome is on purpose not what the patients show: models learned from its rows are to treat groups
alike. Use it for that, and `gan` where a cohort is to tell how groups fare.

Source: Ramachandranpillai, Sikder, Bergström & Heintz 2024 (arXiv 2404.13634), Bt-GAN; see `synth.generators.parity`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from synth.admission import admit, refuse_private
from synth.generators.gan import FittedGan, Gan, learn_rows

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import pandas as pd

    from synth.account import Account
    from synth.generators.mixed_rows import Layout
    from synth.spec import TableSpec


@dataclass(frozen=True, slots=True)
class BtGan(Gan):
    """Settings, beside those of `gan`.

    Attributes:
        sensitive: the column whose categories are the groups; it has to be named.
        outcome: the column that is to tell nothing of the group; the specification's target where it is left out.
        fairness: weight of the constraint beside the critic and the conditions, > 0.
    """

    sensitive: str = ""
    outcome: str = ""
    fairness: float = 10.0

    def __post_init__(self) -> None:
        Gan.__post_init__(self)
        if not self.fairness > 0:
            raise ValueError(f"bt-gan needs fairness > 0, got {self.fairness}: use gan to go without")

    def fit_kept(
        self,
        table: pd.DataFrame,
        spec: TableSpec,
        *,
        rng: np.random.Generator,
        privacy: Account | None,
        file: Path | None,
    ) -> FittedGan:
        """Trains both networks under the constraint: see `synth.generators.Resumable`.

        Raises:
            ValueError: beside what `gan` raises, the sensitive column or the outcome is not named, is no column of the
                specification, holds a single value or too many different ones, or they are the same.
        """
        from synth.generators.fair_draws import FairDraw
        from synth.generators.parity import Parity

        refuse_private("bt-gan", privacy)
        names = self._names(spec)
        learned = learn_rows(admit(table, spec), spec, rng)
        group, outcome = (_choice(learned.layout, name) for name in names)
        parity = Parity(learned.layout, learned.conditions, group=group, outcome=outcome, strength=self.fairness)
        generator = self.train(learned, rng, file, guide=parity)
        return FittedGan(learned.layout, FairDraw(generator, learned.layout, learned.conditions, group, outcome))

    def _names(self, spec: TableSpec) -> tuple[str, str]:
        """The sensitive column and the outcome."""
        names = (self.sensitive, self.outcome or spec.target)
        for setting, name in zip(("sensitive", "outcome"), names, strict=True):
            if not name:
                raise ValueError(f"bt-gan needs {setting}: name a column of the specification")
            if name not in spec.names:
                raise ValueError(f"bt-gan: {setting} names {name!r}, which is no column of the specification")
        if names[0] == names[1]:
            raise ValueError(f"bt-gan: sensitive and outcome are both {names[0]!r}, and have to be two columns")
        return names


def _choice(layout: Layout, name: str) -> int:
    """The plain choice that a column is."""
    place = layout.spec.names.index(name)
    for c, choice in enumerate(layout.plain):
        if choice.column == place:
            return c
    many = any(choice.column == place for choice in layout.modal)
    problem = "many different numbers" if many else "a single value"
    raise ValueError(f"bt-gan: column {name!r} holds {problem}, and groups and outcomes are few categories")
