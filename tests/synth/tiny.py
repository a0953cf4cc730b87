"""Two tables of patients who do not exist, small enough to know by heart."""

from __future__ import annotations

import numpy as np
import pandas as pd

from synth.spec import Column, Rule, TableSpec

WARD = TableSpec(
    columns=(
        Column("sex", "categorical", categories=("F", "M")),
        Column("age", "integer", low=0, high=110),
        Column("systolic", "integer", low=50, high=250, missing=True, missing_marks=("?",)),
        Column("diastolic", "integer", low=20, high=160, missing=True, missing_marks=("?",)),
        Column("bilirubin", "real", low=0, high=30, decimals=1),
        Column("pregnant", "boolean"),
        Column("admitted", "date", low=18262, high=18627),  # 2020
        Column("dead", "boolean"),
    ),
    rules=(
        Rule("less", "diastolic", other="systolic"),
        Rule("only-if", "pregnant", values=("true",), when="sex", equals=("F",)),
    ),
    key="patient",
    quasi_identifiers=("sex", "age"),
    secrets=("dead",),
    target="dead",
    confirmed=True,
)

CLINIC = TableSpec(
    columns=(
        Column('patient\'s "race"', "categorical", categories=("d'Ivoire", 'the "other"', "none"), missing=True),
        Column("stage", "ordinal", categories=("I", "II", "III", "IV")),
        Column("ward", "categorical", categories=("only one",)),
        Column("score", "real", low=-1.25, high=1.25, decimals=2),
    ),
    confirmed=True,
)


def ward(rows: int = 120) -> pd.DataFrame:
    """Texts as a CSV file gives them; two rows for each of half as many patients."""
    rng = np.random.default_rng(5)
    sex = rng.choice(["F", "M"], rows)
    age = rng.integers(20, 95, rows)
    systolic = rng.integers(100, 180, rows)
    table = pd.DataFrame(
        {
            "patient": np.arange(rows) // 2,
            "sex": sex,
            "age": age,
            "systolic": systolic,
            "diastolic": systolic - rng.integers(20, 60, rows),
            "bilirubin": rng.gamma(2.0, 2.0, rows).round(1).clip(0, 30),
            "pregnant": np.where((sex == "F") & (rng.random(rows) < 0.2), "true", "false"),
            "admitted": [f"2020-{month:02d}-15" for month in rng.integers(1, 13, rows)],
            "dead": (age > 70).astype(int),
            "remark": "never read",
        }
    ).astype(str)
    table.loc[::10, "systolic"] = "?"
    return table


def clinic(rows: int = 60) -> pd.DataFrame:
    """Typed cells as a parquet file gives them; apostrophes, quotes and a constant column."""
    rng = np.random.default_rng(6)
    stage = rng.integers(0, 4, rows)
    race = rng.choice(np.array(["d'Ivoire", 'the "other"', None], dtype=object), rows)
    score = (stage / 2 - 0.75 + rng.normal(0, 0.1, rows)).round(2)
    return pd.DataFrame(
        {
            'patient\'s "race"': race,
            "stage": np.array(["I", "II", "III", "IV"])[stage],
            "ward": "only one",
            "score": score.clip(-1.25, 1.25),
        }
    )
