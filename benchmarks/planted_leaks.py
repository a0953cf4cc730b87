"""Does the release gate see planted leaks in real tables, and does it spare patients nobody trained on?

    python benchmarks/planted_leaks.py DATA [--tables pima cirrhosis diabetes130] [--seeds 20]

Each seed splits a table into three: training, holdout, and a clean cohort of real patients, the best there can be.
Six leaks are planted in it, one and two percent of its rows: random training rows, those farthest from all others, and
random ones with every number shaken by half a percent of its range. A leak counts as caught when one of the checks for
copies *fails*; a clean cohort, or half of the holdout posing as one, as accused when one fails. DATA holds the folders
`pima`, `cirrhosis_pbc` and `diabetes130`; of the last, the first encounters of 6,000 patients are drawn.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from synth.columns import Column
from synth.evidence import gather
from synth.gate import check_copies
from synth.planted import try_checks
from synth.spec import TableSpec
from synth.thresholds import Thresholds

if TYPE_CHECKING:
    from synth.evidence import Evidence
    from synth.scores.score import Score

PATIENTS = 6000
CODED = ["admission_type_id", "discharge_disposition_id", "admission_source_id"]
DIABETES = [
    *("race", "gender", "age", *CODED, "time_in_hospital", "num_lab_procedures", "num_procedures"),
    *("num_medications", "number_outpatient", "number_emergency", "number_inpatient", "number_diagnoses"),
    *("max_glu_serum", "A1Cresult", "metformin", "insulin", "change", "diabetesMed", "readmitted"),
]


def read_real(name: str, data: Path) -> pd.DataFrame:
    if name == "pima":
        return pd.read_csv(data / "pima/diabetes.csv")
    if name == "cirrhosis":
        return pd.read_csv(data / "cirrhosis_pbc/cirrhosis_no_id.csv", na_values=["NA", ""])
    every = pd.read_csv(data / "diabetes130/diabetic_data.csv.gz", na_values="?", keep_default_na=False)
    first = every.drop_duplicates("patient_nbr")[DIABETES].astype(dict.fromkeys(CODED, str))
    return first.sample(PATIENTS, random_state=0).reset_index(drop=True)


def bounds_of(table: pd.DataFrame) -> TableSpec:
    """A specification with the table's own bounds, which only a benchmark may take."""
    columns = []
    for name in table:
        cells, missing = table[name].dropna(), bool(table[name].isna().any())
        if cells.dtype == object:
            columns.append(Column(name, "categorical", tuple(sorted(cells.unique())), missing=missing))
        elif (cells % 1 == 0).all():
            columns.append(Column(name, "integer", low=float(cells.min()), high=float(cells.max()), missing=missing))
        else:
            low, high = float(np.floor(cells.min())), float(np.ceil(cells.max()))
            columns.append(Column(name, "real", low=low, high=high, decimals=3, missing=missing))
    return TableSpec(tuple(columns), confirmed=True)


def run_seed(table: pd.DataFrame, spec: TableSpec, seed: int) -> tuple[Evidence, Counter[str], list[str]]:
    """Counts worlds that failed, and names failed looks at the clean cohort."""
    splitting, trying, checking = np.random.default_rng(seed).spawn(3)
    parts = [table.iloc[part] for part in np.array_split(splitting.permutation(len(table)), 3)]
    evidence = gather(parts[0], parts[1], parts[2], spec)

    def look(world: Evidence, fork: np.random.Generator) -> dict[str, Score]:
        return check_copies(world, Thresholds(), fork)

    trials = try_checks(evidence, look, trying)
    failed = Counter({trial.world: int(bool(trial.caught_by)) for trial in trials})
    return evidence, failed, [name for name, s in look(evidence, checking).items() if s.verdict == "fail"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--tables", nargs="+", default=["pima", "cirrhosis", "diabetes130"])
    parser.add_argument("--seeds", type=int, default=20)
    given = parser.parse_args()
    shown = Table("world", *given.tables, title=f"worlds of {given.seeds} in which a check failed")
    rows: dict[str, list[str]] = {}
    for name in given.tables:
        table = read_real(name, given.data)
        spec = bounds_of(table)
        failed: Counter[str] = Counter()
        for seed in range(given.seeds):
            evidence, counts, clean = run_seed(table, spec, seed)
            failed.update(counts)
            failed["the clean cohort"] += bool(clean)
        rows.setdefault("rows of each part x columns", []).append(f"{len(evidence.training)} x {len(spec.columns)}")
        for world in failed:
            rows.setdefault(world, []).append(str(failed[world]))
    for world, cells in rows.items():
        shown.add_row(world, *cells)
    Console(width=100).print(shown)


if __name__ == "__main__":
    main()
