"""Patients who do not exist, with an hourly series or with visits."""

from __future__ import annotations

import numpy as np
import pandas as pd

from synth.relations import NamedTable, RelatedSpec
from synth.spec import Column, Rule, TableSpec

_PATIENTS = NamedTable(
    "patients",
    TableSpec(
        (
            Column("sex", "categorical", categories=("F", "M")),
            Column("age", "integer", low=0, high=110),
            Column("weight", "real", low=20, high=200, decimals=1, missing=True),
        ),
        key="id",
        quasi_identifiers=("sex", "age"),
        secrets=("sex",),
        confirmed=True,
    ),
)
HOURS = 8
ICU = RelatedSpec(
    (
        _PATIENTS,
        NamedTable(
            "hours",
            TableSpec(
                (
                    Column("hour", "integer", low=0, high=HOURS - 1),
                    Column("pulse", "real", low=20, high=250, decimals=1),
                    Column("pressure", "integer", low=20, high=250, missing=True),
                    Column("lactate", "real", low=0, high=30, decimals=1, missing=True),
                    Column("device", "categorical", categories=("none", "mask", "tube")),
                    Column("awake", "boolean", missing=True),
                ),
                key="id",
                confirmed=True,
            ),
            order="hour",
            every=1,
            most_rows=HOURS,
        ),
    )
)
OFFICE = RelatedSpec(
    (
        _PATIENTS,
        NamedTable(
            "visits",
            TableSpec(
                (
                    Column("day", "date", low=18262, high=18627),
                    Column("systolic", "integer", low=50, high=250, missing=True),
                    Column("diastolic", "integer", low=20, high=160, missing=True),
                    Column("urgent", "boolean"),
                    Column("ward", "categorical", categories=("a", "b", "c")),
                ),
                rules=(Rule("less", "diastolic", other="systolic"),),
                key="id",
                confirmed=True,
            ),
            order="day",
            most_rows=4,
        ),
    )
)


def patients(number: int, rng: np.random.Generator) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": np.arange(number) + 1000,
            "sex": rng.choice(["F", "M"], number),
            "age": rng.integers(20, 95, number),
            "weight": np.where(rng.random(number) < 0.2, np.nan, rng.normal(75, 12, number).clip(30, 180).round(1)),
        }
    )


def icu(number: int = 60, seed: int = 5) -> dict[str, pd.DataFrame]:
    """Stays of one to `HOURS` hours; a patient's pulse stays about a level of its own, and pressure follows it."""
    rng = np.random.default_rng(seed)
    people = patients(number, rng)
    lengths = rng.integers(1, HOURS + 1, number)
    owner = np.repeat(np.arange(number), lengths)
    hour = np.concatenate([np.arange(length) for length in lengths])
    level = rng.normal(85, 12, number)[owner]
    pulse = level + rng.normal(0, 4, len(owner)) + hour
    rows = pd.DataFrame(
        {
            "id": people["id"].to_numpy()[owner],
            "hour": pd.to_timedelta(hour, unit="h"),
            "pulse": pulse.clip(30, 200).round(1),
            "pressure": np.where(rng.random(len(owner)) < 0.1, np.nan, (150 - pulse / 2).round()),
            "lactate": np.where(rng.random(len(owner)) < 0.7, np.nan, rng.gamma(2, 1, len(owner)).round(1)),
            "device": rng.choice(["none", "mask", "tube"], number, p=[0.6, 0.3, 0.1])[owner],
            "awake": (pulse > 85).astype(float),
        }
    )
    return {"patients": people, "hours": rows.sample(frac=1, random_state=1).reset_index(drop=True)}


def office(number: int = 60, seed: int = 6) -> dict[str, pd.DataFrame]:
    """Patients with none to four visits; the older come more often."""
    rng = np.random.default_rng(seed)
    people = patients(number, rng)
    visits = rng.binomial(4, people["age"].to_numpy() / 110)
    owner = np.repeat(np.arange(number), visits)
    systolic = rng.integers(100, 180, len(owner))
    rows = pd.DataFrame(
        {
            "id": people["id"].to_numpy()[owner],
            "day": [f"2020-{month:02d}-{day:02d}" for month, day in rng.integers(1, 13, (len(owner), 2))],
            "systolic": systolic,
            "diastolic": systolic - rng.integers(20, 60, len(owner)),
            "urgent": rng.choice(["true", "false"], len(owner)),
            "ward": rng.choice(["a", "b", "c"], len(owner)),
        }
    )
    return {"patients": people, "visits": rows}
