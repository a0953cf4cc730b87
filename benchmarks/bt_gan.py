"""Do rows of Bt-GAN teach models that treat groups alike, and does it cost utility, beside the plain table GAN?

    python benchmarks/bt_gan.py DATA [--seeds 5] [--steps 6000] [--fairness 10] [--first 0] [--kept FOLDER]

First encounters of diabetes130: 12,000 patients are learned from, all others, some 59,000, are the holdout. The outcome
is whether a patient was admitted again, the groups are races of 1,000 holdout patients or more: in smaller ones chance
alone moves a rate by .05. Both generators have the same steps and seeds. The gap is that of equalised odds between
groups, of models trained on drawn rows and tried on the holdout; utility is their area under the ROC curve; parity is
the widest difference between groups in how often drawn rows have the outcome; group shares are held against training by
total variation. Scores are means over five cohorts drawn from one fit.

Two references need no GAN: training rows drawn again as they are, and drawn so that all races have the outcome equally
often (reweighing; Kamiran & Calders 2012), which is what the constraint is after. What is finished is kept
in the folder.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from collections.abc import Iterator

TRAINING, FEWEST = 12_000, 1000
AGAIN, ALIKE = REFERENCES = ("rows drawn again", "rows reweighed")
DRAWS = 5  # cohorts of one fit, whose scores are averaged: how small groups happen to be drawn moves a gap


def read_patients(data: Path) -> pd.DataFrame:
    every = pd.read_csv(data / "diabetes130/diabetic_data.csv.gz", na_values="?", keep_default_na=False)
    first = every.drop_duplicates("patient_nbr")[DIABETES].astype(dict.fromkeys(CODED, str))
    first["readmitted"] = np.where(first["readmitted"] == "NO", "no", "yes")
    return first.rename(columns={"readmitted": "again"}).reset_index(drop=True)


def split(table: pd.DataFrame, spec: TableSpec, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    order = np.random.default_rng(seed).permutation(len(table))
    parts = order[:TRAINING], order[TRAINING:]
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


def drawn_again(training: pd.DataFrame, rng: np.random.Generator, *, alike: bool) -> pd.DataFrame:
    """Training rows with repetition; `alike` gives every race the outcome as often as all patients have it."""
    chances = np.ones(len(training))
    if alike:
        outcome = (training["again"] == "yes").to_numpy()
        race = training["race"].astype(object).fillna("").to_numpy()
        for group in np.unique(race):
            for value in (True, False):
                here = (race == group) & (outcome == value)
                if here.any():
                    chances[here] = (outcome == value).mean() * (race == group).sum() / here.sum()
    rows = rng.choice(len(training), size=TRAINING, p=chances / chances.sum())
    return training.iloc[rows].reset_index(drop=True)


def draw(
    name: str, settings: dict[str, Any], spec: TableSpec, training: pd.DataFrame, seed: int
) -> Iterator[pd.DataFrame]:
    """The cohorts of one fit, or of one reference."""
    chance = np.random.default_rng(seed + 1000)
    if name in REFERENCES:
        for _ in range(DRAWS):
            yield drawn_again(training, chance, alike=name == ALIKE)
        return
    fitted = make_generator(name, settings).fit(training, spec, rng=np.random.default_rng(seed), privacy=None)
    for _ in range(DRAWS):
        yield fitted.sample(TRAINING, chance)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="seed")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--fairness", type=float, default=10.0)
    parser.add_argument("--kept", type=Path, default=Path("runs/bt_gan"))
    given = parser.parse_args()
    given.kept.mkdir(parents=True, exist_ok=True)
    table = read_patients(given.data)
    spec = TableSpec(bounds_of(table).columns, target="again", confirmed=True)
    plain = {"steps": given.steps}
    fair = plain | {"sensitive": "race", "outcome": "again", "fairness": given.fairness}
    arms: dict[str, dict[str, Any]] = {key: {} for key in REFERENCES} | {"gan": plain, "bt-gan": fair}
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in arms}
    for seed in range(given.first, given.first + given.seeds):
        training, holdout = split(table, spec, seed)
        for name, settings in arms.items():
            told = "".join(f"-{value:g}" for value in settings.values() if not isinstance(value, str))
            file = given.kept / f"{name.replace(' ', '-')}{told}-{seed}.json"
            if not file.exists():
                start = time.process_time()
                cohorts = list(draw(name, settings, spec, training, seed))
                spent = time.process_time() - start
                scores = [score(spec, training, holdout, made) for made in cohorts]
                means = {measure: float(np.mean([each[measure] for each in scores])) for measure in scores[0]}
                file.write_text(json.dumps({"seconds": spent} | means))
            runs[name].append(json.loads(file.read_text()))
    shown = Table(
        "score", *runs, "bt-gan less gan", "bt-gan less rows", title=f"{given.seeds} seeds, mean and 95 % interval"
    )
    for measure in runs["gan"][0]:
        of = {name: np.array([run[measure] for run in found]) for name, found in runs.items()}
        shown.add_row(
            measure,
            *(interval(values) for values in (*of.values(), of["bt-gan"] - of["gan"], of["bt-gan"] - of[AGAIN])),
        )
    Console(width=170).print(shown)


if __name__ == "__main__":
    main()
