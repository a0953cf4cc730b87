"""Do synthetic stays keep correlations, trends and the differences between patients of real ones, where PAR loses them?

    python benchmarks/series.py DATA [--seeds 3] [--work FOLDER] [--output FOLDER] [--cell GENERATOR SEED] [--show]

DATA is a folder with YAIB's length-of-stay cohort of the eICU demo (dyn.parquet, sta.parquet): 39 variables by the
hour, of which the first 48 hours are taken. For each seed patients are split by chance, two thirds to train on and one
third held out; each generator is fitted to the former and draws as many patients. PAR has its own default number of
epochs. Numbers are differences from training; holdout is what other real patients come to. Cells that are done lie in
the work folder and are not repeated; series.md and series.png go to the output folder. With --show, of what is done.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from synth.columns import Column
from synth.generators import Resumable, make_related
from synth.related_evidence import gather_related
from synth.related_tables import admit_tables, read_tables
from synth.relations import NamedTable, RelatedSpec
from synth.scores.copies import closest_patients, near_rows, verbatim_rows
from synth.scores.membership import Limits, attack_membership
from synth.scores.series import compared, differences, parts_of
from synth.series import grid_of
from synth.spec import TableSpec
from synth.tables import read_table

if TYPE_CHECKING:
    import pandas as pd

    from synth.scores.series import Compared
    from synth.series import Grid

    Tables = dict[str, pd.DataFrame]

HOURS = 48
OURS, PEER = "health-gym", "par"
SETTINGS = {OURS: {}, PEER: {}, "autoregressive": {"bins": 32, "hidden": 64, "epochs": 20, "patience": 3}}
# low, high and decimals, from what monitors show and laboratories report
RANGES = {
    "hr": (0, 300, 1), "sbp": (0, 300, 1), "dbp": (0, 200, 1), "map": (0, 250, 1), "resp": (0, 120, 1),
    "o2sat": (50, 100, 1), "temp": (30, 44, 1), "urine": (0, 3000, 0), "fio2": (21, 100, 0), "glu": (0, 2000, 0),
    "na": (90, 200, 0), "k": (1, 10, 1), "cl": (60, 150, 0), "bicar": (0, 60, 0), "bun": (0, 300, 0),
    "crea": (0, 30, 2), "ca": (2, 20, 1), "mg": (0, 10, 1), "phos": (0, 20, 1), "hgb": (2, 25, 1),
    "plt": (0, 2000, 0), "wbc": (0, 500, 1), "mcv": (40, 150, 0), "mch": (10, 60, 1), "mchc": (20, 45, 1),
    "alb": (0, 7, 1), "bili": (0, 60, 1), "alp": (0, 5000, 0), "alt": (0, 20000, 0), "ast": (0, 30000, 0),
    "ph": (6.5, 8, 2), "pco2": (5, 200, 0), "po2": (10, 600, 0), "be": (-40, 40, 1), "lact": (0, 40, 1),
    "inr_pt": (0, 20, 1), "ptt": (0, 250, 1), "lymph": (0, 100, 0), "neut": (0, 100, 0),
}  # fmt: skip
SHOWN = ("hr", "sbp", "o2sat", "glu", "na", "crea")
LIMITS = Limits(tpr=0.03, auc=0.55, outlier_auc=0.60, corrected=0.95)


def main() -> None:
    options = parse_options()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.cell:
        cell(options.cell[0], int(options.cell[1]), options)
        return
    seeds = range(1, options.seeds + 1)
    wanted = [(name, seed) for seed in seeds for name in options.generators]
    if options.show:
        wanted = [(name, seed) for name, seed in wanted if (options.work / f"{name}-{seed}.json").exists()]
    found = {(name, seed): cell(name, seed, options) for name, seed in wanted}
    found |= {("holdout", seed): {"numbers": holdout(seed, options)} for seed in seeds}
    options.output.mkdir(parents=True, exist_ok=True)
    text = describe(found, options)
    (options.output / "series.md").write_text(text, encoding="utf-8")
    draw(options, options.output / "series.png")
    print(text)


def cell(name: str, seed: int, options: argparse.Namespace) -> dict:
    """Fit, draw, measure and attack, unless it is done."""
    file = options.work / f"{name}-{seed}.json"
    if file.exists():
        return json.loads(file.read_text())
    training, held = split(seed, options)
    start = time.process_time()
    generator = make_related(name, SETTINGS[name])
    kept = {"file": options.work / f"{name}-{seed}.unfinished"} if isinstance(generator, Resumable) else {}
    fit = generator.fit_kept if kept else generator.fit
    fitted = fit(training, spec(), rng=np.random.default_rng(seed), privacy=None, **kept)
    seconds = time.process_time() - start
    patients = len(training["sta"])
    made = fitted.sample(patients, np.random.default_rng(100 + seed))
    folder = options.work / f"{name}-{seed}"
    folder.mkdir(exist_ok=True)
    for table, rows in made.items():
        rows.to_parquet(folder / f"{table}.parquet")
    found = {"seconds": seconds}
    found["numbers"] = differences(numbers(made), numbers(training))
    found["attacks"] = attacks(training, held, made)
    file.write_text(json.dumps(found))
    print(name, seed, f"{seconds:.0f} s", flush=True)
    return found


def attacks(training: Tables, held: Tables, made: Tables) -> dict:
    """Area and rate of the strongest membership attack, and copies, over summaries and over hours; equal controls."""
    few = len(held["sta"])
    rng = np.random.default_rng(0)
    chosen = rng.permutation(training["sta"]["stay_id"])[:few]
    members = {name: rows[rows["stay_id"].isin(chosen)].reset_index(drop=True) for name, rows in training.items()}
    evidence = gather_related(members, held, made, spec())
    found = {}
    for where, each in {"summaries": evidence.summaries, "hours": evidence.hours["dyn"]}.items():
        scores = attack_membership(each, rng, LIMITS)
        for measure in ("area", "rate"):
            of = [score for name, score in scores.items() if name.endswith(f", {measure}")]
            worst = max(of, key=lambda score: score.value)
            found[f"{where}, {measure}"] = [worst.value, worst.low, worst.high]
        copied = {"verbatim": verbatim_rows(each, level=0.05), "near": near_rows(each, level=0.05)}
        found |= {f"{where}, {name}": score.value for name, score in copied.items()}
        closest = closest_patients(each, rng, level=0.05)
        found[f"{where}, closest"] = [closest.value, closest.low, closest.high]
    return found


def holdout(seed: int, options: argparse.Namespace) -> dict[str, float]:
    training, held = split(seed, options)
    return differences(numbers(held), numbers(training))


def numbers(tables: Tables) -> Compared:
    grid = series_of(tables)
    return compared(parts_of(grid), np.ones(len(grid.lengths)))


def series_of(tables: Tables) -> Grid:
    return grid_of(admit_tables(tables, spec()), spec().tables[1])


def split(seed: int, options: argparse.Namespace) -> tuple[Tables, Tables]:
    """Two thirds of the patients and the others."""
    tables = {name: read_table(options.data / f"{name}.parquet") for name in ("sta", "dyn")}
    patients = np.random.default_rng(seed).permutation(tables["sta"]["stay_id"].to_numpy())
    cut = len(patients) * 2 // 3
    return tuple(
        {name: rows[rows["stay_id"].isin(part)].reset_index(drop=True) for name, rows in tables.items()}
        for part in (patients[:cut], patients[cut:])
    )


def spec() -> RelatedSpec:
    own = TableSpec(
        (
            Column("age", "integer", low=0, high=120, missing=True),
            Column("sex", "categorical", categories=("Female", "Male"), missing=True),
            Column("height", "real", low=50, high=250, decimals=1, missing=True),
            Column("weight", "real", low=10, high=400, decimals=1, missing=True),
        ),
        key="stay_id",
        confirmed=True,
    )
    measured = [
        Column(name, "real", low=low, high=high, decimals=digits, missing=True)
        for name, (low, high, digits) in RANGES.items()
    ]
    hours = replace(own, columns=(Column("time", "integer", low=0, high=HOURS - 1), *measured))
    return RelatedSpec((NamedTable("sta", own), NamedTable("dyn", hours, order="time", every=1, most_rows=HOURS)))


def describe(found: dict, options: argparse.Namespace) -> str:
    names = [*options.generators, "holdout"]
    cells = {name: [of for (known, _), of in sorted(found.items()) if known == name] for name in names}
    heads = [
        f"{name}, {len(of)} {'fit' if len(of) == 1 else 'fits'}" for name, of in cells.items() if name != "holdout"
    ]
    lines = ["# Synthetic stays beside real ones", ""]
    lines += [
        f"`python benchmarks/series.py DATA --seeds {options.seeds} --generators {' '.join(options.generators)}`:",
        "YAIB's length-of-stay cohort of the eICU demo,",
    ]
    lines += [
        f"{len(RANGES)} variables over {HOURS} hours; mean over seeds, each another split and fit, and their range."
    ]
    lines += [
        f"Load averages at the end: {', '.join(f'{x:.1f}' for x in os.getloadavg())} on {os.cpu_count()} cores.",
        "",
    ]
    lines += [f"| difference from training | {' | '.join([*heads, 'holdout'])} |", "|---|" + "---:|" * len(names)]
    for number in cells["holdout"][0]["numbers"]:
        row = [spread([each["numbers"][number] for each in of]) for of in cells.values()]
        lines.append(f"| {number} | {' | '.join(row)} |")
    lines += [
        "",
        f"| attack, equal numbers of members and others | {' | '.join(heads)} |",
        "|---|" + "---:|" * len(heads),
    ]
    for number in cells[names[0]][0]["attacks"]:
        values = [[each["attacks"][number] for each in cells[name]] for name in names[:-1]]
        row = [spread([value[0] if isinstance(value, list) else value for value in of]) for of in values]
        lines.append(f"| {number} | {' | '.join(row)} |")
    took = [f"{name} {spread([each['seconds'] for each in cells[name]], digits=0)}" for name in names[:-1]]
    lines += ["", f"Processor seconds of a fit: {'; '.join(took)}."]
    return "\n".join([*lines, "", "![distributions and hours, real and synthetic](series.png)", ""])


def spread(values: list[float], *, digits: int = 3) -> str:
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def draw(options: argparse.Namespace, file: Path) -> None:
    """Densities of values and of patients' means, and what the hours of all are like; the first seed, and no stay."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    cohorts = {"real": series_of(split(1, options)[0])}
    for name in options.generators:
        cohorts[name] = series_of(read_tables(options.work / f"{name}-1", spec()))
    figure, axes = plt.subplots(3, len(SHOWN), figsize=(2.6 * len(SHOWN), 7), constrained_layout=True)
    variables = list(RANGES)
    for place, variable in enumerate(SHOWN):
        f = variables.index(variable)
        real = cohorts["real"].cells[..., f]
        low, high = np.nanquantile(real, [0.005, 0.995])
        for name, grid in cohorts.items():
            values = grid.cells[..., f]
            seen = values[~np.isnan(values).all(axis=1)]
            style = {"bins": np.linspace(low, high, 40), "density": True, "histtype": "step", "label": name}
            axes[0, place].hist(values[~np.isnan(values)], **style)
            axes[1, place].hist(np.nanmean(seen, axis=1), **style)
            middle = np.nanmedian(values, axis=0)
            (line,) = axes[2, place].plot(middle, lw=1.2)
            lower, upper = np.nanquantile(values, [0.1, 0.9], axis=0)
            axes[2, place].fill_between(range(HOURS), lower, upper, color=line.get_color(), alpha=0.2, lw=0)
        axes[0, place].set_title(variable)
        axes[2, place].set_xlabel("hour")
    for row, label in enumerate(("hourly values", "patients' means", "median, 10 to 90 %")):
        axes[row, 0].set_ylabel(label)
    axes[0, 0].legend(fontsize=7)
    figure.savefig(file, dpi=80)
    plt.close(figure)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--generators", nargs="+", default=[OURS, PEER])
    parser.add_argument("--work", type=Path, default=Path("series-cells"))
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--show", action="store_true", help="describe what is done, and fit nothing")
    parser.add_argument("--cell", nargs=2, metavar=("GENERATOR", "SEED"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
