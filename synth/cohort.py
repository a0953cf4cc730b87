"""A synthetic cohort: drawn rows that obey the specification's rules.

A generator knows kinds, categories and bounds but no rules, so rows that break one are drawn again. How many were
turned down is told: a generator that must be corrected often has not learned the medicine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from synth.generators import Fitted
    from synth.spec import TableSpec

_MOST_TURNED_DOWN = 50  # draws for each row that is wanted
_SMALLEST_DRAW = 64


@dataclass(frozen=True, slots=True)
class Cohort:
    """Rows and what it took.

    Attributes:
        rows: typed, every rule obeyed.
        turned_down: rows drawn that broke a rule.
    """

    rows: pd.DataFrame
    turned_down: int


def draw_cohort(fitted: Fitted, spec: TableSpec, *, rows: int, rng: np.random.Generator) -> Cohort:
    """Draws a cohort.

    Args:
        fitted: the generator after its fit.
        spec: whose rules hold.
        rows: how many, >= 1.
        rng: decides which.

    Raises:
        ValueError: `rows` is below one, or fewer than one row in fifty obeys the rules.
    """
    import pandas as pd

    if rows < 1:
        raise ValueError(f"rows must be >= 1, got {rows}")
    kept: list[pd.DataFrame] = []
    have = drawn = turned_down = 0
    while have < rows:
        if drawn > _MOST_TURNED_DOWN * max(rows, _SMALLEST_DRAW):
            raise ValueError(
                f"only {have} of {drawn} drawn rows obey the rules: loosen them, or use a generator that learns them"
            )
        batch = fitted.sample(max(rows - have, _SMALLEST_DRAW), rng)
        drawn += len(batch)
        broken = pd.Series(data=False, index=batch.index)
        for rule in spec.rules:
            broken |= rule.broken(batch)
        good = batch[~broken].head(rows - have)
        turned_down += int(broken.sum())
        kept.append(good)
        have += len(good)
    return Cohort(pd.concat(kept, ignore_index=True), turned_down)
