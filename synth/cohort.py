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

    from synth.generators import Fitted, FittedRelated
    from synth.relations import RelatedSpec
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


@dataclass(frozen=True, slots=True)
class RelatedCohort:
    """Tables and what it took.

    Attributes:
        tables: by name, typed, with the patients' numbers from 1; every rule obeyed.
        turned_down: patients drawn who broke a rule in any of their rows.
    """

    tables: dict[str, pd.DataFrame]
    turned_down: int


def draw_related(fitted: FittedRelated, spec: RelatedSpec, *, patients: int, rng: np.random.Generator) -> RelatedCohort:
    """Draws a cohort of several tables.

    Args:
        fitted: the generator after its fit.
        spec: whose rules hold.
        patients: how many, >= 1.
        rng: decides which.

    Raises:
        ValueError: `patients` is below one, or fewer than one patient in fifty obeys the rules in every row.
    """
    import pandas as pd

    if patients < 1:
        raise ValueError(f"rows must be >= 1, got {patients}")
    kept: dict[str, list[pd.DataFrame]] = {table.name: [] for table in spec.tables}
    have = drawn = turned_down = 0
    while have < patients:
        if drawn > _MOST_TURNED_DOWN * max(patients, _SMALLEST_DRAW):
            raise ValueError(
                f"only {have} of {drawn} drawn patients obey the rules in every row: loosen them, or use a generator "
                "that learns them"
            )
        batch = fitted.sample(max(patients - have, _SMALLEST_DRAW), rng)
        drawn += len(batch[spec.patients.name])
        broken: set[int] = set()
        for table in spec.tables:
            rows = batch[table.name]
            for rule in table.spec.rules:
                broken |= set(rows.loc[rule.broken(rows), spec.key])
        keys = batch[spec.patients.name][spec.key]
        good = keys[~keys.isin(broken)].head(patients - have)
        turned_down += len(broken)
        numbers = pd.Series(range(have + 1, have + 1 + len(good)), index=good.to_numpy())
        for name, rows in batch.items():
            chosen = rows[rows[spec.key].isin(good)]
            kept[name].append(chosen.assign(**{spec.key: chosen[spec.key].map(numbers)}))
        have += len(good)
    return RelatedCohort({name: pd.concat(rows, ignore_index=True) for name, rows in kept.items()}, turned_down)
