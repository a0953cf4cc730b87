"""Do labels derived from events agree with YAIB's own? The same patients, stay by stay and hour by hour.

    python benchmarks/label_agreement.py [--work FOLDER] [--data FOLDER]

Peer: the cohorts YAIB's R pipeline made of the eICU and MIMIC-III demos (van de Water et al., ICLR 2024). The demos are
ingested with `wardround data ingest`, labelled with `wardround data label`, and compared with YAIB's `outc` tables over
the stays both know. Where a definition departs from YAIB's on purpose, a second line puts YAIB's in its place, to show
how much of the difference is the definition.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from clinical.cohorts import kidney_injury
from clinical.cohorts.derivation import label_shards
from clinical.events import read_events
from clinical.labels import list_labels, read_labels
from clinical.sources.yaib import TASK_OF_FOLDER

ROOT = Path(__file__).resolve().parents[1]
WARDROUND = [sys.executable, "-m", "wardround"]
SOURCES = {"mimic-iii": ("mimic_iii_demo", "mimic_demo"), "eicu": ("eicu_demo", "eicu_demo")}


def main() -> None:
    options = parse_options()
    print("| source | task | stays YAIB / ours / both | labels in common | agreement |")
    print("|---|---|---|---|---|")
    for source, (export, cohorts) in SOURCES.items():
        hospital = prepare(options.work / source, options.data / export, source)
        began = read_events(hospital, prefixes=["ICU//IN"]).to_pandas().set_index("stay_id")["time"]
        for folder, task in TASK_OF_FOLDER.items():
            if task not in list_labels(hospital):
                continue
            theirs = read_cohort(options.data / "yaib_demo_cohorts" / folder / cohorts, began)
            compare(source, task, read_labels(hospital, task).to_pandas(), theirs, began)
            if task == "aki":
                own, kidney_injury.urine_rates = kidney_injury.urine_rates, summed_rates
                labels = label_shards(hospital, ["aki"])["aki"].to_pandas()
                kidney_injury.urine_rates = own
                compare(source, "aki, YAIB's urine", labels, theirs, began)
            if task == "mortality-24h":
                explain_deaths(hospital, read_labels(hospital, task).to_pandas(), theirs)
            if task == "sepsis":
                explain_early(theirs, hospital, read_labels(hospital, task).to_pandas(), options.data, cohorts)


def prepare(hospital: Path, export: Path, source: str) -> Path:
    """Ingest and label a demo, once."""
    if not hospital.is_dir():
        for command in (["ingest", source, str(export), str(hospital)], ["label", str(hospital)]):
            subprocess.run([*WARDROUND, "data", *command], check=True, stdout=subprocess.DEVNULL)
    return hospital


def read_cohort(folder: Path, began: pd.Series) -> pd.DataFrame:
    """YAIB's labels of the stays that are in the demo's events: stay_id, hour, label."""
    theirs = pd.read_parquet(folder / "outc.parquet")
    hour = theirs["time"].dt.total_seconds() // 3600 if "time" in theirs else 24
    return theirs.assign(hour=hour)[theirs["stay_id"].isin(began.index)]


def compare(source: str, task: str, ours: pd.DataFrame, theirs: pd.DataFrame, began: pd.Series) -> None:
    """Print one row of the table."""
    hour = (ours["prediction_time"] - ours["stay_id"].map(began)).dt.total_seconds() / 3600
    value = ours["float_value"] if ours["boolean_value"].isna().all() else ours["boolean_value"].astype(float)
    ours = ours.assign(hour=hour.round(), answer=value)
    both = set(ours["stay_id"]) & set(theirs["stay_id"])
    stays = f"{theirs['stay_id'].nunique()} / {ours['stay_id'].nunique()} / {len(both)}"
    rows = ours.merge(theirs, on=["stay_id", "hour"])
    if ours["boolean_value"].isna().all():
        apart = (rows["answer"] - rows["label"]).abs()
        said = (
            f"mean difference {apart.mean():.3f}, at most {apart.max():.2f}, below 0.01 in {np.mean(apart < 0.01):.0%}"
        )
    else:
        ever = (each[each["stay_id"].isin(both)].groupby("stay_id") for each in (ours, theirs))
        by_stay = pd.concat([next(ever)["answer"].max(), next(ever)["label"].max()], axis=1)
        said = f"kappa {kappa(by_stay['answer'], by_stay['label']):.2f} by stay"
        if len(rows) > len(by_stay):
            said += f", {kappa(rows['answer'], rows['label']):.2f} by hour"
        said += f" ({int(by_stay['answer'].sum())} and {int(by_stay['label'].sum())} of {len(by_stay)} stays yes)"
    print(f"| {source} | {task} | {stays} | {len(rows):,} | {said} |", flush=True)


def explain_deaths(hospital: Path, ours: pd.DataFrame, theirs: pd.DataFrame) -> None:
    """Count the deaths only we count by where they were: in intensive care (YAIB's outcome) or later in hospital."""
    answers = ours.set_index("stay_id")["boolean_value"].astype(bool)
    labels = theirs.set_index("stay_id")["label"].reindex(answers.index)
    more = answers.index[answers & (labels == 0)]
    deaths = read_events(hospital, prefixes=["DEATH"]).to_pandas().groupby("subject_id")["time"].max()
    ends = read_events(hospital, prefixes=["ICU//OUT"]).to_pandas().set_index("stay_id")
    after = deaths.reindex(ends.loc[more, "subject_id"]).to_numpy() > ends.loc[more, "time"].to_numpy()
    print(f"| | | | | {len(more)} deaths only we count, {int(after.sum())} of them after the stay; "
          f"{int((~answers & (labels == 1)).sum())} only YAIB counts |")  # fmt: skip


def explain_early(theirs: pd.DataFrame, hospital: Path, ours: pd.DataFrame, data: Path, cohorts: str) -> None:
    """Compare who is left out because sepsis came before the sixth hour: the base cohort is that of remaining-stay."""
    base = set(read_labels(hospital, "remaining-stay")["stay_id"].to_pylist())
    base &= set(pd.read_parquet(data / "yaib_demo_cohorts" / "los" / cohorts / "outc.parquet")["stay_id"])
    early = pd.DataFrame({"ours": [stay not in set(ours["stay_id"]) for stay in base],
                          "yaib": [stay not in set(theirs["stay_id"]) for stay in base]})  # fmt: skip
    print(f"| | | | | sepsis before hour 6: kappa {kappa(early['ours'], early['yaib']):.2f} "
          f"({int(early['ours'].sum())} and {int(early['yaib'].sum())} of {len(base)} stays) |")  # fmt: skip


def kappa(first: pd.Series, second: pd.Series) -> float:
    """Cohen's kappa of two yes-or-no columns."""
    one, two = first.to_numpy(bool), second.to_numpy(bool)
    chance = one.mean() * two.mean() + (1 - one.mean()) * (1 - two.mean())
    return float(((one == two).mean() - chance) / (1 - chance))


def summed_rates(urine: pd.DataFrame, *, hours: int) -> np.ndarray:
    """YAIB's urine: hourly rates of a window summed and not divided by its length, a rate being volume by (gap + 1)."""
    hour = np.floor(urine["hour"])
    hourly = urine.assign(hour=hour).groupby(["row", "hour"], as_index=False)["value"].sum()
    gap = hourly.groupby("row")["hour"].diff() + 1
    rate = hourly["value"] / gap.where(gap <= 24, 1).fillna(1)
    clock = pd.DatetimeIndex(pd.Timestamp("2000-01-01") + pd.to_timedelta(hourly["hour"], unit="h"))
    windows = hourly.assign(rate=rate).set_index(clock).groupby("row")["rate"].rolling(f"{hours}h")
    hourly["summed"] = np.where(hourly["hour"] >= hours, windows.sum().to_numpy(), np.nan)
    keyed = urine.assign(hour=hour)[["row", "hour"]].merge(hourly, on=["row", "hour"], how="left")
    return keyed["summed"].to_numpy()


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("label-agreement"))
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    return parser.parse_args()


if __name__ == "__main__":
    main()
