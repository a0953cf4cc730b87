"""Which form of features tells more about real intensive-care stays? Grid, events and words on eICU's mortality cohort.

    python benchmarks/forms.py [--seeds 3] [--work FOLDER] [--data FOLDER]

Every run trains in one place, without privacy, on the cohort of `benchmarks/ehr.py`; every seed draws new splits by
patient, the same for all. Ten rounds of one epoch, the best by the tuning split is kept. The cohort holds the grid's 48
variables only, so events can show no more than the grid does but when exactly something was measured; the settings of
rows are the preset's, which was chosen on the grid. Resumes in the same --work folder.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from ehr import DATA, prepare

from clinical.partition import split_hospital
from clinical.site_policy import SIMULATED_POLICY
from server.laboratory import perform
from study.defaults import build

if TYPE_CHECKING:
    from collections.abc import Mapping

    from study.protocol import Value

COMMON: dict[str, Value] = {
    "task.name": "mortality-24h",
    "privacy.epsilon": 0.0,
    "federation.quorum": 1,
    "federation.rounds": 10,
    "federation.keep": "best",
    "federation.wait-seconds": 1.0,
    "evaluation.replicates": 0,
    "evaluation.local-baseline": False,
    "training.optimizer": "adam",
    "training.batch-patients": 32,
    "training.local-epochs": 1.0,
}
ROWS: dict[str, Value] = {"training.learning-rate": 0.001, "training.weight-decay": 0.3}
SEQUENCES: dict[str, Value] = {"training.learning-rate": 0.002, "training.weight-decay": 0.01, "model.dropout": 0.3}
FORMS: dict[str, dict[str, Value]] = {
    "grid": {},
    "events by code": {"features.form": "events"},
    "events by code, without values": {"features.form": "events", "features.value": False},
    "events by code, without time": {"features.form": "events", "features.time": False},
    "events by title": {"features.form": "events", "features.tokens": "text"},
    "words": {"features.form": "text"},
}
MODELS = {"logistic": (ROWS, tuple(FORMS)), "gru": (SEQUENCES, ("grid", "events by code"))}
METRICS = ("auroc", "average_precision", "brier")


def main() -> None:
    options = parse_options()
    work = options.work.absolute()
    prepare(work, options.data.absolute())
    print("| model | features | " + " | ".join(name.replace("_", " ") for name in METRICS) + " |")
    print("|---" * (2 + len(METRICS)) + "|")
    for model, (settings, forms) in MODELS.items():
        for form in forms:
            changes = COMMON | settings | FORMS[form] | {"model.name": model}
            found = [scores(work, changes, f"{model}, {form}", seed) for seed in range(options.seeds)]
            cells = [spread([each[name] for each in found]) for name in METRICS]
            print(f"| {model} | {form} | {' | '.join(cells)} |", flush=True)
    print(f"\nMean ± sd over {options.seeds} seeds, held-out patients.")


def scores(work: Path, changes: Mapping[str, Value], name: str, seed: int) -> dict[str, Any]:
    """Run one study, unless it is kept."""
    folder = work / "forms" / name / f"seed-{seed}"
    kept = folder / "scores.json"
    if not kept.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        study = build(changes, {"study.seed": seed, "study.output": str(folder)})
        record = perform(study, [together(work, seed)], folder)
        pooled = {metric: score["value"] for metric, score in record["final"]["pooled"].items()}
        kept.write_text(json.dumps(pooled), encoding="utf-8")
    return json.loads(kept.read_text(encoding="utf-8"))


def together(work: Path, seed: int) -> Path:
    """All sites' patients in one hospital under this seed's splits."""
    view = work / "forms" / f"hospital-{seed}"
    if not (view / "policy.toml").is_file():
        shutil.rmtree(view, ignore_errors=True)
        shutil.copytree(work / "eicu", view)
        shared = work / "forms" / "embeddings"
        shared.mkdir(exist_ok=True)
        (view / "embeddings").symlink_to(shared, target_is_directory=True)
        split_hospital(view, seed=seed)
        (view / "policy.toml").write_text(SIMULATED_POLICY.replace("minimum_cell = 5", "minimum_cell = 1"))
    return view


def spread(values: list[float]) -> str:
    return f"{mean(values):.3f} ± {stdev(values):.3f}" if len(values) > 1 else f"{values[0]:.3f}"


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark-ehr"))
    parser.add_argument("--data", type=Path, default=DATA)
    return parser.parse_args()


if __name__ == "__main__":
    main()
