"""What a cohort is judged on: the rows it was made from, rows it was not made from, and itself, all read one way.

A holdout is the heart of it. How close a synthetic row may lie to a patient depends on how alike patients are, and only
patients whom the generator never saw can tell. Training and holdout are one draw of patients, split by chance: then
nothing but the generator can tell them apart, and every test below is a test of just that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from synth.distances import encode
from synth.neighbours import nearest, nearest_others

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from synth.distances import Rows
    from synth.spec import TableSpec

    Array = NDArray[np.float32]

FEWEST = 20  # rows of any of the three tables below which nothing can be said


@dataclass(frozen=True, slots=True)
class Evidence:
    """Three typed tables with the distances between them.

    Attributes:
        spec: what the columns mean.
        training: typed rows the cohort was made from.
        holdout: typed rows of other patients of the same draw.
        synthetic: typed rows of the cohort.
        real_rows: float32 [T + H, F], training first, encoded.
        synthetic_rows: float32 [S, F], encoded.
        spacing: float32 [T + H], from each real row to the nearest other real row: how alone this patient is.
        reach: float32 [T + H], from each real row to the nearest synthetic row.
        alike: how many of all the real rows that are known equal another one: whether patients of this table coincide.
    """

    spec: TableSpec
    training: pd.DataFrame
    holdout: pd.DataFrame
    synthetic: pd.DataFrame
    real_rows: Rows
    synthetic_rows: Rows
    spacing: Array
    reach: Array
    alike: int

    @property
    def member(self) -> NDArray[np.bool_]:
        """Which of the real rows are of the training table, bool [T + H]."""
        return np.arange(len(self.real_rows)) < len(self.training)

    @property
    def tolerance(self) -> float:
        """The distance within which two rows are near-copies: half a percent a column."""
        return 0.005 * len(self.spec.columns)

    def with_synthetic(self, synthetic: pd.DataFrame) -> Evidence:
        """The same real tables beside another cohort."""
        rows = encode(synthetic, self.spec.columns)
        reach = nearest(self.real_rows, rows).distance[:, 0]
        return replace(self, synthetic=synthetic, synthetic_rows=rows, reach=reach)


def gather(training: pd.DataFrame, holdout: pd.DataFrame, synthetic: pd.DataFrame, spec: TableSpec) -> Evidence:
    """Reads three tables by their specification and measures the distances every attack needs.

    Args:
        training: rows the generator was fitted to, as read or typed.
        holdout: rows of other patients, from the same draw.
        synthetic: rows of the cohort.
        spec: of all three.

    Raises:
        ValueError: the specification is not confirmed, a table does not fit it or has too few rows, or a patient is in
            both training and holdout.
    """
    spec.require_confirmed()
    _check_patients(training, holdout, spec)
    keyless = replace(spec, key="")  # a cohort has no patients, and whose the real rows are has been looked at
    typed = [
        _typed(table, keyless, name)
        for name, table in (("training", training), ("holdout", holdout), ("synthetic", synthetic))
    ]
    encoded = [encode(table, spec.columns) for table in typed]
    real = np.concatenate(encoded[:2])
    spacing = nearest_others(real).distance[:, 0]
    return Evidence(
        spec,
        training=typed[0],
        holdout=typed[1],
        synthetic=typed[2],
        real_rows=real,
        synthetic_rows=encoded[2],
        spacing=spacing,
        reach=nearest(real, encoded[2]).distance[:, 0],
        alike=int((spacing == 0).sum()),
    )


def row_keys(rows: Rows) -> NDArray[np.void]:
    """One comparable key for each encoded row, [N]; equal rows have equal keys."""
    plain = np.ascontiguousarray(rows + np.float32(0))  # one zero, whatever its sign
    keys: NDArray[Any] = plain.view(np.dtype((np.void, plain.dtype.itemsize * plain.shape[1]))).ravel()
    return keys


def _typed(table: pd.DataFrame, spec: TableSpec, name: str) -> pd.DataFrame:
    """The typed table; a cell that does not fit its column is an error, for a missing one would hide it."""
    from synth.contradictions import check_table
    from synth.tables import typed_table

    if fatal := [each for each in check_table(table, spec) if each.fatal]:
        raise ValueError(f"the {name} table does not fit the specification: {fatal[0]}")
    if len(table) < FEWEST:
        raise ValueError(f"the {name} table has {len(table)} rows, and at least {FEWEST} are needed")
    return typed_table(table, spec).reset_index(drop=True)


def _check_patients(training: pd.DataFrame, holdout: pd.DataFrame, spec: TableSpec) -> None:
    if not spec.key:
        return
    if spec.key not in training or spec.key not in holdout:
        raise ValueError(f"the key {spec.key!r} must stand in the training and the holdout table, to tell patients")
    shared = len(set(training[spec.key].astype(str)) & set(holdout[spec.key].astype(str)))
    if shared:
        raise ValueError(f"{shared} patients are in both training and holdout: split by {spec.key!r}, not by row")
