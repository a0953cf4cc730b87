"""Hospitals that hold a table each: patients who do not exist, whose outcome follows from age and sex."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from clinical.site_policy import SIMULATED_POLICY

if TYPE_CHECKING:
    from pathlib import Path

POLICY = SIMULATED_POLICY.replace('tasks = ["*"]', 'tasks = ["synthesis"]')

SPEC = """
confirmed = true
key = "patient"
target = "dead"

[[columns]]
name = "sex"
kind = "categorical"
categories = ["F", "M"]

[[columns]]
name = "age"
kind = "integer"
low = 0
high = 110

[[columns]]
name = "lactate"
kind = "real"
low = 0
high = 20
decimals = 1
missing = true

[[columns]]
name = "pregnant"
kind = "boolean"

[[columns]]
name = "dead"
kind = "boolean"

[[rules]]
kind = "only-if"
column = "pregnant"
values = ["true"]
when = "sex"
equals = ["F"]
"""


def ward(rows: int, *, seed: int) -> pd.DataFrame:
    """A row for each of so many patients."""
    rng = np.random.default_rng(seed)
    sex = rng.choice(["F", "M"], rows)
    age = rng.integers(20, 95, rows)
    dead = rng.random(rows) < np.where(age > 65, 0.8, 0.1)
    lactate = np.clip(rng.normal(np.where(dead, 8, 2), 1), 0, 20).round(1)
    return pd.DataFrame(
        {
            "patient": [f"p{seed}-{i}" for i in range(rows)],
            "sex": sex,
            "age": age,
            "lactate": np.where(rng.random(rows) < 0.1, np.nan, lactate),
            "pregnant": (sex == "F") & (age < 45) & (rng.random(rows) < 0.3),
            "dead": dead,
        }
    )


def write_network(folder: Path, *, sizes: tuple[int, ...] = (400, 300, 300)) -> list[Path]:
    """Write hospitals with a table and a policy each, of every kind of file in turn."""
    hospitals = []
    for number, rows in enumerate(sizes, start=1):
        hospital = folder / f"ward-{number}"
        hospital.mkdir(parents=True)
        table = ward(rows, seed=number)
        if number % 3 == 0:
            table.to_csv(hospital / "table.csv.gz", index=False)
        elif number % 3 == 1:
            table.to_parquet(hospital / "table.parquet", index=False)
        else:
            table.to_csv(hospital / "table.csv", index=False)
        (hospital / "policy.toml").write_text(POLICY, encoding="utf-8")
        hospitals.append(hospital)
    return hospitals
