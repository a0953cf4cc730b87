"""What is a cohort of several hospitals worth beside each hospital's own and beside one of all patients in one place?

    python benchmarks/federated_synthesis.py DATA SCRATCH [--tables pima diabetes130] [--seeds 5]

A third of the patients, drawn by chance, is held out. The others lie in hospitals: those of Pima in four of equal
size by chance, the first encounters of 12,000 patients of Diabetes 130 in five by who paid (Medicare, a health
maintenance organisation, the patient, Blue Cross, all others), which differ in size and in whom they treat.
Everything private costs each patient the same epsilon at delta 1e-5. The federated arms are whole studies (`task.name
= "synthesis"`), run in this process; `pooled` fits the same generator to all patients in one place, which nobody may
do; `alone` is the mean over the hospitals, each from its own patients only. Measured on the holdout: the area of
models trained on the cohort (`synth.scores`; logistic regression and boosting), and how far single columns and pairs
of columns are from the holdout's. A number is the mean over seeds with its 95 % t-interval. SCRATCH keeps what is
done, so a run can be resumed.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import tomli_w
from planted_leaks import CODED, DIABETES, bounds_of
from rich.console import Console
from rich.table import Table
from scipy.stats import t as student

from clinical.site_policy import SIMULATED_POLICY
from privacy.ledger import Ledger
from privacy.noise import SecureNoise
from server.laboratory import perform
from study.defaults import build
from synth.account import Account, Allowance
from synth.cohort import draw_cohort
from synth.columns import BOUNDED
from synth.evidence import gather
from synth.generators import make_generator
from synth.scores.fidelity import association, column_distances
from synth.scores.learners import class_area, predict_column
from synth.spec import spec_to
from synth.tables import read_table

if TYPE_CHECKING:
    from synth.spec import TableSpec

EPSILONS = (1.0, 3.0, 8.0)
DELTA = 1e-5
PATIENTS = 12_000
PAYERS = ("MC", "HM", "SP", "BC")
LEARNERS = ("logistic", "boosting")
MEASURES = ("logistic", "boosting", "columns", "pairs")


def read_real(name: str, data: Path) -> tuple[pd.DataFrame, np.ndarray, str]:
    """A table, the hospital of each row and the target."""
    if name == "pima":
        table = pd.read_csv(data / "pima/diabetes.csv").astype({"Outcome": str})
        return table, np.random.default_rng(0).permutation(len(table)) % 4, "Outcome"
    every = pd.read_csv(data / "diabetes130/diabetic_data.csv.gz", na_values="?", keep_default_na=False)
    first = every.drop_duplicates("patient_nbr").sample(PATIENTS, random_state=0).reset_index(drop=True)
    payer = first["payer_code"]
    hospital = np.select([payer == code for code in PAYERS], range(len(PAYERS)), default=len(PAYERS))
    table = first[DIABETES].astype(dict.fromkeys(CODED, str))
    return table.assign(readmitted=np.where(first["readmitted"] == "NO", "no", "yes")), hospital, "readmitted"


class World:
    """One seed of one table: hospitals on disk, and a holdout."""

    def __init__(self, name: str, data: Path, scratch: Path, seed: int) -> None:
        self.table, hospital, target = read_real(name, data)
        self.spec: TableSpec = replace(bounds_of(self.table), target=target)
        self.seed, self.scratch = seed, scratch / f"{name}-{seed}"
        order = np.random.default_rng([1, seed]).permutation(len(self.table))
        held, kept = order[: len(order) // 3], order[len(order) // 3 :]
        self.holdout = self.table.iloc[held].reset_index(drop=True)
        self.training = self.table.iloc[kept].reset_index(drop=True)
        self.parts = [self.table.iloc[kept[hospital[kept] == h]] for h in np.unique(hospital)]
        self.rng = np.random.default_rng([2, seed])
        self.fits = 0

    def hospitals(self) -> list[Path]:
        folders = []
        for number, part in enumerate(self.parts, start=1):
            folder = self.scratch / "network" / f"hospital-{number}"
            folder.mkdir(parents=True, exist_ok=True)
            part.to_parquet(folder / "table.parquet", index=False)
            policy = SIMULATED_POLICY.replace('tasks = ["*"]', 'tasks = ["synthesis"]')
            (folder / "policy.toml").write_text(policy, encoding="utf-8")
            folders.append(folder)
        return folders

    def together(self, *, epsilon: float, **synthesis: Any) -> pd.DataFrame:
        """Run a study over the hospitals and read its cohort."""
        settings = {
            "task.name": "synthesis",
            "study.output": str((self.scratch / "runs").absolute()),
            "study.seed": self.seed,
            "data.network": str(self.scratch / "network"),
            "federation.wait-seconds": 0.1,
            "privacy.epsilon": epsilon,
            "privacy.delta": DELTA,
            "synthesis.specification": tomli_w.dumps(spec_to(self.spec)),
            "synthesis.rows": len(self.training),
        }
        study = build(settings, {f"synthesis.{key}": value for key, value in synthesis.items()})
        record = perform(study, self.hospitals(), self.scratch)
        return read_table(Path(record["folder"]) / "cohort" / "cohort.parquet")

    def fit(self, generator: str, table: pd.DataFrame, *, epsilon: float) -> pd.DataFrame:
        """Fit a generator in one place and draw as many rows as there are patients in all."""
        self.fits += 1
        with Ledger.open(self.scratch / f"{generator}-{epsilon:g}-{self.fits}-{len(table)}.db") as ledger:
            allowance = Allowance(epsilon=epsilon, delta=DELTA, ceiling=1000.0)
            account = Account(allowance, ledger, f"fit {self.rng.integers(2**60)}", "benchmark", SecureNoise())
            fitted = make_generator(generator, {}).fit(table, self.spec, rng=self.rng, privacy=account)
        return draw_cohort(fitted, self.spec, rows=len(self.training), rng=self.rng).rows

    def measure(self, cohort: pd.DataFrame) -> dict[str, float]:
        evidence = gather(self.training, self.holdout, cohort, self.spec)
        holdout, made = evidence.real_rows[len(self.training) :], evidence.synthetic_rows
        target = self.spec.names.index(self.spec.target)
        classes = np.unique(evidence.real_rows[:, target]).astype(np.float64)
        truth = np.searchsorted(classes, holdout[:, target].astype(np.float64))
        found = {
            name: class_area(
                truth,
                predict_column(name, self.spec.columns, target, made, asked=holdout, classes=classes, seed=self.seed),
            )
            for name in LEARNERS
        }
        numeric = np.array([column.kind in BOUNDED for column in self.spec.columns])
        found["columns"] = float(column_distances(holdout, made, numeric).mean())
        parts = [
            np.column_stack([_fifths(rows[:, f], holdout[:, f], numeric=n) for f, n in enumerate(numeric)])
            for rows in (holdout, made)
        ]
        found["pairs"] = float(np.abs(association(parts[0]) - association(parts[1])).mean())
        return found

    def alone(self, epsilon: float) -> dict[str, dict[str, float]]:
        """Each hospital's own cohort: the mean over them, and that of the largest."""
        found = [self.measure(self.fit("marginals", part, epsilon=epsilon)) for part in self.parts]
        largest = max(range(len(found)), key=lambda h: len(self.parts[h]))
        mean = {name: float(np.mean([each[name] for each in found])) for name in MEASURES}
        return {"alone": mean, "alone, the largest": found[largest]}

    def arms(self, kept: Path) -> None:
        """Measure every arm that is not kept yet."""
        found: dict[str, dict[str, float]] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}

        def keep(arms: dict[str, dict[str, float]]) -> None:
            found.update(arms)
            kept.write_text(json.dumps(found), encoding="utf-8")

        if "real patients" not in found:
            keep({"real patients": self.measure(self.training)})
        for epsilon in EPSILONS:
            at = f"epsilon {epsilon:g} | "
            if f"{at}pooled" not in found:
                keep({f"{at}pooled": self.measure(self.fit("marginals", self.training, epsilon=epsilon))})
            for tree in ("measured", "target"):
                if f"{at}together, tree {tree}" not in found:
                    cohort = self.together(epsilon=epsilon, tree=tree)
                    keep({f"{at}together, tree {tree}": self.measure(cohort)})
            if f"{at}alone" not in found:
                keep({f"{at}{name}": measured for name, measured in self.alone(epsilon).items()})
            if f"{at}pooled, dp-gan" not in found:
                keep({f"{at}pooled, dp-gan": self.measure(self.fit("dp-gan", self.training, epsilon=epsilon))})


def _fifths(values: np.ndarray, reference: np.ndarray, *, numeric: bool) -> np.ndarray:
    """Numbers as fifths of the holdout, categories as they are; from 0."""
    if numeric:
        return np.searchsorted(np.unique(np.quantile(reference, [0.2, 0.4, 0.6, 0.8])), values, side="right")
    return values.astype(np.int64) - min(int(values.min()), int(reference.min()))


def _shown(values: list[float]) -> str:
    mean, spread = np.mean(values), np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return f"{mean:.3f} ± {student.ppf(0.975, max(len(values) - 1, 1)) * spread:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--tables", nargs="+", default=["pima", "diabetes130"])
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    for name in given.tables:
        results = []
        for seed in range(given.seeds):
            world = World(name, given.data, given.scratch.absolute(), seed)
            world.scratch.mkdir(parents=True, exist_ok=True)
            kept = given.scratch / f"{name}-{seed}.json"
            world.arms(kept)
            results.append(json.loads(kept.read_text(encoding="utf-8")))
        sizes = ", ".join(str(len(part)) for part in world.parts)
        shown = Table("cohort of", *MEASURES, title=f"{name}: hospitals of {sizes} patients, {len(results)} seeds")
        for arm in sorted(results[0], key=lambda arm: (arm.startswith("epsilon"), arm.partition(" | ")[0])):
            shown.add_row(arm, *(_shown([each[arm][measure] for each in results]) for measure in MEASURES))
        Console(width=120).print(shown)


if __name__ == "__main__":
    main()
