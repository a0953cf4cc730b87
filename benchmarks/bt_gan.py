"""Do rows of Bt-GAN teach models that treat groups alike, and does it cost utility, beside the plain table GAN?

    python benchmarks/bt_gan.py DATA [--seeds 5] [--steps 1500] [--fairness 10] [--kept FOLDER]

First encounters of diabetes130: 12,000 patients are learned from, 30,000 others are the holdout. The outcome is whether
a patient was admitted again, the groups are races of 200 holdout patients or more. Both generators have the same steps
and seeds. The gap is that of equalised odds between groups, of models trained on drawn rows and tried on the holdout;
utility is their area under the ROC curve; parity is the widest difference between groups in how often drawn rows have
the outcome; group shares are held against training by total variation. What is finished is kept in the folder.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
from planted_leaks import CODED, DIABETES, bounds_of
from rich.console import Console
from rich.table import Table
from table_gan import interval

from synth.distances import encode
from synth.evidence import Evidence
from synth.generators import make_generator
from synth.scores.utility import measure_fairness, measure_utility
from synth.spec import TableSpec
from synth.tables import typed_table

TRAINING, HOLDOUT, FEWEST = 12_000, 30_000, 200


def read_patients(data: Path) -> pd.DataFrame:
    every = pd.read_csv(data / "diabetes130/diabetic_data.csv.gz", na_values="?", keep_default_na=False)
    first = every.drop_duplicates("patient_nbr")[DIABETES].astype(dict.fromkeys(CODED, str))
    first["readmitted"] = np.where(first["readmitted"] == "NO", "no", "yes")
    return first.rename(columns={"readmitted": "again"}).reset_index(drop=True)


def split(table: pd.DataFrame, spec: TableSpec, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    order = np.random.default_rng(seed).permutation(len(table))
    parts = order[:TRAINING], order[TRAINING : TRAINING + HOLDOUT]
    training, holdout = (typed_table(table.iloc[part], spec).reset_index(drop=True) for part in parts)
    return training, holdout


def score(spec: TableSpec, training: pd.DataFrame, holdout: pd.DataFrame, made: pd.DataFrame) -> dict[str, float]:
    real = np.concatenate([encode(training, spec.columns), encode(holdout, spec.columns)])
    unused = np.zeros(len(real), dtype=np.float32)  # no distance enters these scores
    evidence = Evidence(spec, training, holdout, made, real, encode(made, spec.columns), unused, unused, alike=0)
    found = {}
    for name, each in measure_utility(evidence, np.random.default_rng(0), groups=(), fewest=1, threshold=0.9).items():
        found[f"{name}: area"] = each.value * each.baseline
        found[f"{name}: area of training rows"] = each.baseline
    fairness = measure_fairness(evidence, np.random.default_rng(0), groups=("race",), fewest=FEWEST, slack=0.02)
    for name, each in fairness.items():
        found[f"{name}: gap"] = each.value + each.baseline
        found[f"{name}: gap of training rows"] = each.baseline
    shares = [table["race"].fillna("").value_counts(normalize=True) for table in (training, made)]
    found["race shares, total variation"] = float(shares[0].sub(shares[1], fill_value=0).abs().sum() / 2)
    large = holdout["race"].value_counts()
    rates = (made["again"] == "yes").groupby(made["race"]).mean()[large[large >= FEWEST].index]
    found["parity of drawn rows"] = float(rates.max() - rates.min())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--fairness", type=float, default=10.0)
    parser.add_argument("--kept", type=Path, default=Path("runs/bt_gan"))
    given = parser.parse_args()
    given.kept.mkdir(parents=True, exist_ok=True)
    table = read_patients(given.data)
    columns = bounds_of(table).columns
    spec = TableSpec(columns, target="again", confirmed=True)
    plain = {"steps": given.steps}
    fair = plain | {"sensitive": "race", "outcome": "again", "fairness": given.fairness}
    runs: dict[str, list[dict[str, float]]] = {"gan": [], "bt-gan": []}
    for seed in range(given.seeds):
        training, holdout = split(table, spec, seed)
        for name, settings in (("gan", plain), ("bt-gan", fair)):
            file = given.kept / f"{name}-{given.steps}-{seed}.json"
            if not file.exists():
                start = time.process_time()
                fitted = make_generator(name, settings).fit(
                    training, spec, rng=np.random.default_rng(seed), privacy=None
                )
                spent = time.process_time() - start
                made = fitted.sample(TRAINING, np.random.default_rng(seed + 1000))
                file.write_text(json.dumps({"seconds": spent} | score(spec, training, holdout, made)))
            runs[name].append(json.loads(file.read_text()))
    shown = Table("score", *runs, "bt-gan less gan", title=f"{given.seeds} seeds, mean and 95 % interval")
    for name in runs["gan"][0]:
        own, fairer = (np.array([run[name] for run in found]) for found in runs.values())
        shown.add_row(name, *(interval(values) for values in (own, fairer, fairer - own)))
    Console(width=110).print(shown)


if __name__ == "__main__":
    main()
