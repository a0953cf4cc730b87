"""Prediction on real intensive-care stays (eICU demo in YAIB's cohorts): central, federated, local, transfer, boosting.

    python benchmarks/ehr.py [--seeds 5] [--work FOLDER] [--data FOLDER] [--only mortality-24h]

Runs the commands a user would type (ingest yaib, partition by site, compare) and prints what they print. Sites are made
of eICU's 132 small hospitals by region, and within a region by size (250 beds and more, or fewer and unknown); the
Northeast is too small to divide and hospitals without a region are one site. A patient belongs to the site of the
first stay. Every seed draws new splits by patient. Resumes in the same --work folder.

Floors of the same cohorts (grouped five-fold, central): mortality AUROC .787 linear, .796 boosting; kidney function MAE
.346 linear, .294 boosting, .769 median.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
WARDROUND = str(Path(sys.executable).parent / "wardround")
ALL = "central,federated,local,transfer,boosting"
NO_TRANSFER = "central,federated,local,boosting"  # hourly tasks: eight more trainings a seed would take an hour
TASKS = {
    "mortality-24h": (ALL, "study/presets/mortality.toml"),
    "kidney-function": (ALL, "study/presets/kidney.toml"),
    "aki": (NO_TRANSFER, "study/presets/aki.toml"),
    "sepsis": (
        NO_TRANSFER, "study/presets/aki.toml", "task.name=sepsis", "features.variables=", "federation.rounds=10",
    ),
    "remaining-stay": (
        NO_TRANSFER, "study/presets/aki.toml", "task.name=remaining-stay", "features.variables=", "training.loss=huber",
        "federation.rounds=10",
    ),
}  # fmt: skip
LARGE = ("250 - 499", ">= 500")


def main() -> None:
    options = parse_options()
    work, data = options.work.absolute(), options.data.absolute()
    network = prepare(work, data)
    for task, (arms, preset, *changes) in TASKS.items():
        if options.only in {"", task}:
            print(f"\n## {task}\n", flush=True)
            places = ["--network", network, "--output", str(work / task)]
            settings = [word for change in changes for word in ("--set", change)]
            wardround("compare", preset, *places, "--seeds", options.seeds, "--arms", arms, *settings)


def prepare(work: Path, data: Path) -> str:
    """Make the network of sites, once; return its folder."""
    source, hospital, network = work / "cohorts", work / "eicu", work / "sites"
    if not source.is_dir():
        source.mkdir(parents=True)
        for cohort in (data / "yaib_demo_cohorts").iterdir():
            (source / cohort.name).symlink_to(cohort / "eicu_demo")
        members(data / "eicu_demo").to_csv(work / "stays.csv", index=False)
    if not hospital.is_dir():
        wardround("data", "ingest", "yaib", str(source), str(hospital), "--stays", str(work / "stays.csv"))
    if not network.is_dir():
        method = ["--method", "column", "--column", "site_id", "--hospitals", "0", "--seed", "0"]
        wardround("data", "partition", str(hospital), str(network), *method)
    return str(network)


def members(folder: Path) -> pd.DataFrame:
    """Whose each stay is, and at which site."""
    stays = pd.read_csv(folder / "patient.csv.gz").merge(
        pd.read_csv(folder / "hospital.csv.gz"), on="hospitalid", how="left"
    )
    size = stays["numbedscategory"].isin(LARGE).map({True: "large", False: "small"})
    divided = stays["region"].notna() & (stays["region"] != "Northeast")
    stays["site"] = stays["region"].fillna("unknown") + ("-" + size).where(divided, "")
    first = stays.sort_values("patientunitstayid").groupby("uniquepid")["site"].first()
    return pd.DataFrame(
        {
            "stay_id": stays["patientunitstayid"],
            "patient_id": stays["uniquepid"],
            "site_id": stays["uniquepid"].map(first),
        }
    )


def wardround(*arguments: object) -> None:
    """Run one command and show what it says."""
    done = subprocess.run([WARDROUND, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(
            f"wardround {' '.join(map(str, arguments))} ended with {done.returncode}: {done.stderr[-500:]}"
        )
    print(done.stdout, flush=True)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark-ehr"))
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--only", choices=["", *TASKS], default="")
    return parser.parse_args()


if __name__ == "__main__":
    main()
