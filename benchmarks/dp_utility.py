"""The price of differential privacy, and what each setting that lowers it buys, alone and together.

    python benchmarks/dp_utility.py [--tasks codiesp simulated mortality kidney models] [--work FOLDER] [--corpus DIR]

Every rung of the ladder is a study as a user would write it, run by the application itself over the same patients,
splits and seeds (`server.laboratory`). Each rung's learning rate is chosen on the *tuning* split of a seed that no
table uses, at epsilon 3. Scores are of held-out patients, mean ± sd over seeds. What is finished is kept in --work, so
a run resumes. Laboratory conditions: choosing settings costs privacy too, and that cost is in no epsilon here.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING

from codiesp import CORPUS, ROOT
from ehr import prepare as prepare_sites

from server.laboratory import Laboratory, perform
from study.defaults import build, read_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from study.protocol import Study, Value

EPSILONS = (1.0, 3.0, 8.0)
RATES = (0.05, 0.2, 0.6, 2.0)
CHOSEN_AT, CHOSEN_ON = 3.0, 99  # epsilon and seed
ALL = 1_000_000  # expected patients a step: everybody
COMMON: dict[str, Value] = {
    "evaluation.replicates": 0,
    "evaluation.local-baseline": False,
    "federation.wait-seconds": 1.0,
}

BASE = "mlp-s, small batches"
TOGETHER = "together: linear, titles, large, tail"
TITLES_ALONE = "titles alone, nobody trained on"
LADDER: dict[str, dict[str, Value]] = {
    BASE: {"model.name": "mlp-s"},
    "+ large batches": {"model.name": "mlp-s", "training.batch-patients": ALL},
    "+ tail average": {"model.name": "mlp-s", "training.average": "tail"},
    "+ clipping per layer": {"model.name": "mlp-s", "privacy.clip-per-layer": True},
    "+ linear head instead": {"model.name": "linear"},
    "+ start from titles": {"model.name": "mlp-s", "model.warm-start": "titles"},
    TOGETHER: {
        "model.name": "linear",
        "model.warm-start": "titles",
        "training.batch-patients": ALL,
        "training.average": "tail",
    },
}
FLOOR = "logistic, small batches"
OUTCOMES: dict[str, dict[str, Value]] = {
    FLOOR: {"model.name": "logistic"},
    "+ large batches": {"model.name": "logistic", "training.batch-patients": ALL},
    "+ tail average": {"model.name": "logistic", "training.average": "tail"},
    "+ hidden layer (mlp-s)": {"model.name": "mlp-s"},
    "together: large, tail": {
        "model.name": "logistic",
        "training.batch-patients": ALL,
        "training.average": "tail",
    },
}
EVERY_MODEL: dict[str, dict[str, Value]] = {
    name: {"model.name": name} for name in ("logistic", "mlp-s", "gru", "tcn", "transformer", "ssm")
}
WITHOUT_PRIVACY = (
    *EVERY_MODEL,
    FLOOR,
    "+ hidden layer (mlp-s)",
    BASE,
    "+ linear head instead",
    "+ start from titles",
    TOGETHER,
)


@dataclass(frozen=True, slots=True)
class Task:
    """One section of the result: hospitals, what every rung shares, and what is reported.

    Attributes:
        title: heading.
        remark: what a reader must know of these hospitals.
        changes: of the study's defaults, for every rung; its batch is the small one.
        seeds: how many, from 0.
        metrics: names in a run's record, and their headings.
        ladder: the rungs that make sense here.
        lower_is_better: of the tuning score by which a rate is chosen.
    """

    title: str
    remark: str
    changes: dict[str, Value]
    seeds: int
    metrics: dict[str, str]
    ladder: Mapping[str, dict[str, Value]]
    lower_is_better: bool = False


CODING = {"micro_f1": "micro-F1", "macro_f1": "macro-F1", "mean_average_precision": "mAP"}
TASKS = {
    "codiesp": Task(
        "ICD coding, CodiEsp among four hospitals",
        "750 real case reports in machine English, iid: each hospital trains on about 130 patients with a note each. "
        "Tiny: noise that hides one of 130 hides most of what they say.",
        {"training.batch-patients": 32},
        5,
        CODING,
        LADDER,
    ),
    "simulated": Task(
        "ICD coding, four simulated hospitals with 2,000 patients",
        "Invented patients at unequal hospitals (596, 448, 302, 154 train): a larger size, and nothing about medicine.",
        {"training.batch-patients": 64},
        3,
        CODING,
        LADDER,
    ),
    "mortality": Task(
        "Mortality after 24 hours of intensive care, eICU demo at eight sites",
        "991 real stays; each site trains on 40 to 170 patients and 5 % die, so that noise hides most of what a site's "
        "few deaths say. Sites are those of `benchmarks/ehr.py`. A held-out split holds about ten deaths.",
        {"task.name": "mortality-24h", "training.batch-patients": 32},
        5,
        {"auroc": "AUROC", "average_precision": "AUPRC", "brier": "Brier"},
        OUTCOMES,
    ),
    "kidney": Task(
        "Kidney function on the second day, eICU demo at eight sites",
        "585 real stays, 30 to 110 training patients a site; the median of all answers errs by .77 mg/dL.",
        {"task.name": "kidney-function", "training.loss": "huber", "training.batch-patients": 32},
        5,
        {"mae": "MAE, mg/dL", "r2": "variance explained"},
        OUTCOMES,
        lower_is_better=True,
    ),
    "models": Task(
        "Every model: kidney function from three variables, eICU demo at eight sites",
        "The same stays and answers; a model sees creatinine, urea and urine output only, whole cohorts a step.",
        {
            "task.name": "kidney-function",
            "training.loss": "huber",
            "features.variables": "crea bun urine",
            "training.batch-patients": ALL,
        },
        3,
        {"mae": "MAE, mg/dL"},
        EVERY_MODEL,
        lower_is_better=True,
    ),
}


def prepare_codiesp(work: Path, corpus: Path) -> Path:
    """Ingest and divide the corpus as `benchmarks/codiesp.py` does."""
    hospital, network = work / "codiesp", work / "hospitals"
    if not hospital.is_dir():
        tables = ["--diagnoses", f"{corpus}/*/*D.tsv", "--procedures", f"{corpus}/*/*P.tsv"]
        wardround("data", "ingest", "notes", f"{corpus}/*/text_files_en", str(hospital), *tables)
    if not network.is_dir():
        division = ["--method", "iid", "--hospitals", "4", "--seed", "0"]
        wardround("data", "partition", str(hospital), str(network), *division)
    return network


def prepare_simulated(work: Path, _: Path) -> Path:
    network = work / "simulated"
    if not network.is_dir():
        size = ["--hospitals", "4", "--patients", "2000", "--seed", "7"]
        wardround("data", "simulate", str(network), *size)
    return network


def prepare_stays(work: Path, corpus: Path) -> Path:
    return Path(prepare_sites(work, corpus.parent))


NETWORKS = {
    "codiesp": prepare_codiesp,
    "simulated": prepare_simulated,
    "mortality": prepare_stays,
    "kidney": prepare_stays,
    "models": prepare_stays,
}


def main() -> None:
    options = parse_options()
    work = options.work.absolute()
    logging.getLogger("wardround").setLevel(logging.ERROR)
    logging.getLogger("flwr").setLevel(logging.ERROR)
    for name in options.tasks:
        network = NETWORKS[name](work, options.corpus.absolute())
        if TASKS[name].ladder is LADDER:
            wardround("data", "embed", str(network))
        hospitals = tuple(sorted(place for place in network.iterdir() if (place / "data").is_dir()))
        print(section(TASKS[name], Laboratory(hospitals, work / "ladder" / name)), flush=True)


def section(task: Task, laboratory: Laboratory) -> str:
    """Run a task's ladder and draw its table."""
    metrics = list(task.metrics)
    columns = [f"{heading}, {label}" for heading in task.metrics.values() for label in labels()]
    lines = [["setting", "rate", *columns], ["---"] * (2 + len(columns))]
    for rung, settings in task.ladder.items():
        changes = {**task.changes, **settings}
        rate = choose_rate(task, laboratory, rung, changes)
        scores = {each: private_scores(task, laboratory, rung, changes, each, rate) for each in EPSILONS}
        scores[0.0] = plain_scores(task, laboratory, rung, settings) if rung in WITHOUT_PRIVACY else []
        cells = [spread([seed[name] for seed in scores[each]]) for name in metrics for each in (*EPSILONS, 0.0)]
        lines.append([rung, f"{rate:g}", *cells])
        print(lines[-1], file=sys.stderr, flush=True)
    if TOGETHER in task.ladder:
        lines.append(titles_row(task, laboratory))
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"\n## {task.title}\n\n{task.remark}\nHeld-out patients, mean ± sd over {task.seeds} seeds.\n\n{table}\n"


def titles_row(task: Task, laboratory: Laboratory) -> list[str]:
    """What the title start scores before it has seen a patient; the vocabulary and its frequencies are counted."""
    settings = {"model.name": "linear", "model.warm-start": "titles", "federation.rounds": 1}
    found = plain_scores(task, laboratory, TITLES_ALONE, {**settings, "training.learning-rate": 1e-12})
    dashes = ["–"] * len(EPSILONS)
    return [TITLES_ALONE, "–", *(cell for name in task.metrics for cell in (*dashes, spread([s[name] for s in found])))]


def labels() -> list[str]:
    return [*(f"ε {each:g}" for each in EPSILONS), "no privacy"]


def choose_rate(task: Task, laboratory: Laboratory, rung: str, changes: dict[str, Value]) -> float:
    """The rate with the best tuning score of the final model, on a seed that is in no table."""

    def tuning(rate: float) -> float:
        settings: dict[str, Value] = {**changes, "training.learning-rate": rate, "privacy.epsilon": CHOSEN_AT}
        return run(build(COMMON, settings), laboratory, f"{rung}/rate-{rate:g}", CHOSEN_ON)["tuning"]

    return min(RATES, key=tuning) if task.lower_is_better else max(RATES, key=tuning)


def private_scores(
    task: Task, laboratory: Laboratory, rung: str, changes: dict[str, Value], epsilon: float, rate: float
) -> list[dict[str, float]]:
    settings: dict[str, Value] = {**changes, "training.learning-rate": rate, "privacy.epsilon": epsilon}
    study = build(COMMON, settings)
    return [run(study, laboratory, f"{rung}/epsilon-{epsilon:g}-rate-{rate:g}", seed) for seed in range(task.seeds)]


def plain_scores(task: Task, laboratory: Laboratory, rung: str, settings: dict[str, Value]) -> list[dict[str, float]]:
    """The same without privacy, under the preset for that; its batches are its own."""
    plain = {key: value for key, value in settings.items() if key != "training.batch-patients"}
    shared = {"task.name", "training.loss", "features.variables"}
    given = {key: value for key, value in task.changes.items() if key in shared}
    study = build(read_settings(ROOT / "study" / "presets" / "plain.toml"), COMMON, given, plain)
    return [run(study, laboratory, f"{rung}/plain", seed) for seed in range(task.seeds)]


def run(study: Study, laboratory: Laboratory, place: str, seed: int) -> dict[str, float]:
    """Run a study once; its scores are kept beside its record."""
    folder = laboratory.folder / "runs" / place.replace(" ", "_") / f"seed-{seed}"
    note = folder / "scores.json"
    if not note.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        placed = build(study.settings(), {"study.seed": seed, "study.output": str(folder)})
        record = perform(placed, laboratory.views(seed=seed), folder)
        scores = {name: score["value"] for name, score in record["final"]["pooled"].items()}
        scores["tuning"] = record["curve"][-1]["score"]
        note.write_text(json.dumps(scores), encoding="utf-8")
    found: dict[str, float] = json.loads(note.read_text(encoding="utf-8"))
    return found


def spread(values: list[float]) -> str:
    return f"{mean(values):.3f} ± {stdev(values):.3f}" if values else "–"


def wardround(*arguments: str) -> None:
    subprocess.run([sys.executable, "wardround.py", *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark-dp-utility"))
    parser.add_argument("--corpus", type=Path, default=CORPUS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
