"""Patients who do not exist, for tests of the release gate: a specification, draws of it, and standings."""

from __future__ import annotations

import numpy as np
import pandas as pd

from synth.columns import Column
from synth.spec import TableSpec
from synth.standing import Standing

SPEC = TableSpec(
    (
        *(Column(f"n{i}", "real", low=-6, high=6, decimals=3) for i in range(5)),
        Column("age", "integer", low=0, high=120, missing=True),
        Column("sex", "categorical", categories=("F", "M")),
        Column("stage", "ordinal", categories=("I", "II", "III")),
    ),
    confirmed=True,
)


def draw(rng, rows=200):
    table = pd.DataFrame(rng.normal(size=(rows, 5)).round(3), columns=[f"n{i}" for i in range(5)])
    table["age"] = pd.array(rng.integers(20, 90, rows), dtype="Int64")
    table.loc[rng.random(rows) < 0.1, "age"] = pd.NA
    table["sex"] = rng.choice(["F", "M"], rows)
    table["stage"] = rng.choice(["I", "II", "III"], rows)
    return table


def standing(holdout=200, *, claim=None, booked=None, patients=200, earlier=(), seen=None):
    """What is known beside the rows: nothing claimed and nothing released before, unless said otherwise."""
    known = np.zeros(holdout, dtype=bool) if seen is None else seen
    return Standing(claim, booked, patients, earlier, known)
