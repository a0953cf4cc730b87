"""A real table from a private fit to a release, by the command line: what the gate says, how long, how much memory.

    python benchmarks/scoring.py DATA [--rows 20000] [--epsilon 3] [--folder FOLDER]

DATA holds `diabetes130/diabetic_data.csv.gz`: first encounters of 57,147 patients, 21 columns. As many as `--rows`
train, the others are the holdout, split by chance. The specification is what the data set's paper and code lists make
public. Each step is a command in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from planted_leaks import DIABETES
from rich.console import Console
from rich.table import Table

from synth.columns import Column
from synth.spec import TableSpec, write_spec

CODES = {"admission_type_id": 8, "discharge_disposition_id": 30, "admission_source_id": 26}
RANGES = {
    "time_in_hospital": (1, 14),
    "num_lab_procedures": (0, 132),
    "num_procedures": (0, 6),
    "num_medications": (0, 81),
    "number_outpatient": (0, 42),
    "number_emergency": (0, 76),
    "number_inpatient": (0, 21),
    "number_diagnoses": (1, 16),
}
DOSES = ("No", "Steady", "Up", "Down")
LISTS = {
    "race": ("Caucasian", "AfricanAmerican", "Hispanic", "Asian", "Other"),
    "gender": ("Female", "Male", "Unknown/Invalid"),
    "max_glu_serum": ("None", "Norm", ">200", ">300"),
    "A1Cresult": ("None", "Norm", ">7", ">8"),
    "metformin": DOSES,
    "insulin": DOSES,
    "change": ("No", "Ch"),
    "diabetesMed": ("No", "Yes"),
    "readmitted": ("NO", ">30", "<30"),
}
PLAN = """
[table]
path = "training.csv"
[spec]
path = "spec.toml"
[generator]
name = "marginals"
rows = {rows}
seed = 7
[privacy]
epsilon = {epsilon}
delta = 1e-5
ceiling = 8.0
ledger = "ledger.db"
run = "diabetes"
"""


def public_column(name: str) -> Column:
    if name in CODES:
        return Column(name, "categorical", tuple(str(code) for code in range(1, CODES[name] + 1)))
    if name in RANGES:
        return Column(name, "integer", low=RANGES[name][0], high=RANGES[name][1])
    if name == "age":
        return Column(name, "ordinal", tuple(f"[{low}-{low + 10})" for low in range(0, 100, 10)))
    return Column(name, "categorical", LISTS[name], missing=name == "race")


def prepare(data: Path, folder: Path, rows: int, epsilon: float) -> None:
    """Writes both tables, the specification, the plan and the site's thresholds."""
    file = data / "diabetes130/diabetic_data.csv.gz"
    every = pd.read_csv(file, dtype=str, na_values="?", keep_default_na=False)
    first = every.drop_duplicates("patient_nbr")[["patient_nbr", *DIABETES]]
    order = np.random.default_rng(1).permutation(len(first))
    first.iloc[order[:rows]].to_csv(folder / "training.csv", index=False)
    first.iloc[order[rows:]].to_csv(folder / "holdout.csv", index=False)
    spec = TableSpec(
        tuple(public_column(name) for name in DIABETES),
        key="patient_nbr",
        target="change",
        quasi_identifiers=("race", "gender", "age", "time_in_hospital", "num_procedures", "number_diagnoses"),
        secrets=("A1Cresult", "readmitted"),
        confirmed=True,
    )
    write_spec(spec, folder / "spec.toml")
    (folder / "plan.toml").write_text(PLAN.format(rows=rows, epsilon=epsilon))
    (folder / "site.toml").write_text('groups = ["gender"]\nfewest-in-group = 1000\n')


def run(folder: Path, *words: str) -> tuple[float, float, float, str]:
    """Runs a command of `wardround synth`: seconds by the clock and of processors, peak GiB, what it said."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "wardround", "synth", *words]
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, cwd=folder, stdout=said, stderr=subprocess.STDOUT)
        _, _, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        said.seek(0)
        return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20, said.read().strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--epsilon", type=float, default=3.0)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    prepare(given.data, folder, given.rows, given.epsilon)
    inputs = ["training.csv", "cohort/cohort.parquet", "--holdout", "holdout.csv", "--spec", "spec.toml"]
    hospital = ["--thresholds", "site.toml", "--releases", "releases", "--ledger", "ledger.db"]
    steps = {
        "fit and draw": ["fit", "plan.toml", "--out", "cohort"],
        "judge and release": ["release", *inputs, *hospital, "--out", "package"],
        "verify": ["verify", "package"],
    }
    table = Table(
        "step", "s", "processor s", "peak GiB", title=f"{given.rows} x {len(DIABETES)}, epsilon {given.epsilon:g}"
    )
    console = Console(width=120)
    for step, words in steps.items():
        seconds, processor, peak, said = run(folder, *words)
        table.add_row(step, f"{seconds:.1f}", f"{processor:.1f}", f"{peak:.2f}")
        console.print(f"wardround synth {words[0]}:", style="bold")
        console.print(said, highlight=False, markup=False)
    console.print(table)


if __name__ == "__main__":
    main()
