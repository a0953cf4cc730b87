"""Was federating worth it? The same patients, trained together in one place, federated, and each hospital alone.

A comparison is a laboratory exercise: it presupposes that one party holds all the records. Every arm of a seed shares
patients, splits, code vocabulary and settings; what differs is who sees whom. Settings may be varied as well, and every
combination gets its own rows. What is finished is kept, so a comparison resumes, and refuses to resume as another one.
"""

from __future__ import annotations

import itertools
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from clinical.events import read_manifest
from clinical.tasks import family_of
from clinical.tasks.prediction import find_prediction_task
from server.laboratory import Laboratory, perform
from server.terms import check_study
from study.defaults import build

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from study.protocol import Study, Value

ARMS = ("central", "federated", "local", "transfer", "boosting")
METRICS = ("micro_f1", "macro_f1", "precision_at_8", "mean_average_precision", "micro_auc")
METRICS_OF_OUTCOME = {
    "binary": ("auroc", "average_precision", "brier", "calibration_error"),
    "regression": ("mae", "rmse", "r2"),
}
FIXED = ("study.", "data.", "task.name", "task.vocabulary")  # what the arms of one comparison share

Scores = dict[str, float | None]
Seeds = list[dict[str, Scores]]  # for every seed, each arm's scores


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is compared, on which hospitals, how often, and where it is kept.

    Attributes:
        changes: of the study's defaults, for every arm.
        network: folder of hospitals; None means the study's simulated network.
        arms: some of `ARMS`.
        seeds: how many, from 0.
        output: folder of everything the comparison makes.
        vary: settings to vary, each with its values; every combination is compared.
    """

    changes: Mapping[str, Value]
    network: Path | None
    arms: tuple[str, ...]
    seeds: int
    output: Path
    vary: Mapping[str, Sequence[Value]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse arms that do not exist and keys that must not vary."""
        unknown = [arm for arm in self.arms if arm not in ARMS]
        if unknown or not self.arms:
            raise ValueError(f"unknown arm {', '.join(unknown) or '(none)'}: choose from {', '.join(ARMS)}")
        for key in self.vary:
            if key.startswith(FIXED):
                raise ValueError(f"{key} cannot vary within a comparison: its arms share patients, seeds and codes")

    def variants(self) -> list[dict[str, Value]]:
        """Return every combination of the varied settings; one empty one where nothing varies."""
        return [dict(zip(self.vary, values, strict=True)) for values in itertools.product(*self.vary.values())]


def compare_arms(comparison: Comparison) -> str:
    """Run every arm of every variant under every seed that is not finished yet.

    Returns:
        The table as Markdown, which is also written to ``comparison.md`` in the folder, beside ``comparison.json``.

    Raises:
        ProtocolError, EncoderUnavailable: the study cannot be run as written.
        StudyFailed: a run failed; what was finished before stays.
        ValueError: the folder holds a comparison of other settings or hospitals.
    """
    from rich.console import Console
    from rich.progress import track

    variants = comparison.variants()
    studies = [build(comparison.changes, variant) for variant in variants]
    for study in studies:
        check_study(study)  # a mistake ends here, before any work
        if study.synthesises:
            raise ValueError("a comparison is of models: score cohorts with `wardround synth score`")
        if "boosting" in comparison.arms and family_of(study.task.name) == "coding":
            raise ValueError(f"the arm boosting is for prediction tasks: leave it out for {study.task.name}")
    laboratory = Laboratory(tuple(_hospitals(comparison, studies[0])), comparison.output)
    folders = [_claim(comparison, study, variant) for study, variant in zip(studies, variants, strict=True)]
    results: list[Seeds] = [[] for _ in variants]
    work = list(itertools.product(range(comparison.seeds), range(len(variants))))
    for seed, number in track(work, description="runs", console=Console(stderr=True), transient=True):
        results[number].append(_run_arms(comparison, studies[number], laboratory, folders[number], seed))
    table = tabulate(comparison.arms, variants, results, metrics=_metrics(studies[0]))
    (comparison.output / "comparison.md").write_text(table + "\n", encoding="utf-8")
    kept = [
        {"settings": study.settings(), "varied": variant, "seeds": found}
        for study, variant, found in zip(studies, variants, results, strict=True)
    ]
    text = json.dumps({"arms": list(comparison.arms), "variants": kept}, indent=1)
    (comparison.output / "comparison.json").write_text(text + "\n", encoding="utf-8")
    return table


def _metrics(study: Study) -> tuple[str, ...]:
    """Which scores a comparison of this study shows."""
    if family_of(study.task.name) == "coding":
        return METRICS
    return METRICS_OF_OUTCOME[find_prediction_task(study.task.name).kind]


def tabulate(
    arms: Sequence[str],
    variants: Sequence[Mapping[str, Value]],
    results: Sequence[Seeds],
    *,
    metrics: Sequence[str] = METRICS,
) -> str:
    """Draw arms against metrics: mean ± sd over the seeds, then differences paired by seed.

    Args:
        arms: the arms to show, in order.
        variants: the varied settings of each block of rows; empty where nothing varies.
        results: for every variant and every seed, each arm's scores.
        metrics: the scores to show.
    """
    varied = list(variants[0])
    head = [*varied, "arm", *(name.replace("_", " ") for name in metrics)]
    rows = [
        [*(str(variant[key]) for key in varied), *row]
        for variant, found in zip(variants, results, strict=True)
        for row in _rows(arms, found, metrics)
    ]
    lines = [head, ["---"] * len(head), *rows]
    caption = f"Mean ± sd over {len(results[0])} seeds; differences are paired by seed."
    return "\n".join([*("| " + " | ".join(line) + " |" for line in lines), "", caption])


def _rows(arms: Sequence[str], found: Seeds, metrics: Sequence[str]) -> Iterable[list[str]]:
    for arm in arms:
        yield [arm, *(_spread([seed[arm].get(name) for seed in found]) for name in metrics)]
    for other in ("central", "local", "transfer", "boosting"):
        if other in arms and "federated" in arms:
            cells = [_spread([_difference(seed, other, name) for seed in found], signed=True) for name in metrics]
            yield [f"federated − {other}", *cells]


def _hospitals(comparison: Comparison, study: Study) -> list[Path]:
    from clinical.networks import list_hospitals
    from clinical.simulation import simulate_network

    if comparison.network is not None:
        return list_hospitals(comparison.network)
    network = comparison.output / "network"
    if not network.is_dir():
        simulate_network(network, hospitals=study.data.hospitals, patients=study.data.patients, seed=study.study.seed)
    return list_hospitals(network)


def _claim(comparison: Comparison, study: Study, variant: Mapping[str, Value]) -> Path:
    """Make a variant's folder, or find it again if it was made by the same study on the same hospitals."""
    name = ",".join(f"{key}={value}" for key, value in variant.items()).replace("/", "_") or "study"
    folder = comparison.output / "variants" / name
    terms = {"network": str(comparison.network and comparison.network.absolute()), **study.settings()}
    text, note = json.dumps(terms, indent=1) + "\n", folder / "settings.json"
    if note.is_file() and note.read_text(encoding="utf-8") != text:
        raise ValueError(f"{comparison.output} holds a comparison of other settings: give another --output")
    folder.mkdir(parents=True, exist_ok=True)
    note.write_text(text, encoding="utf-8")
    return folder


def _run_arms(comparison: Comparison, study: Study, laboratory: Laboratory, variant: Path, seed: int) -> dict[str, Any]:
    """Run the arms of one variant and seed; each arm's scores are written when it is done."""
    folder = variant / f"seed-{seed}"
    folder.mkdir(exist_ok=True)
    changes: dict[str, Value] = {"study.seed": seed, "study.output": str(folder / "runs")}
    wanted = [arm for arm in comparison.arms if not (folder / f"{arm}.json").is_file()]
    coded = family_of(study.task.name) == "coding" and not (folder / "vocabulary.txt").is_file()  # all arms share it
    if wanted and (coded or {"federated", "local"} & set(wanted)):
        local = "local" in comparison.arms
        _federate(build(study.settings(), changes, {"evaluation.local-baseline": local}), laboratory, folder)
    if "transfer" in wanted:
        _transfer(build(study.settings(), changes, {"evaluation.local-baseline": False}), laboratory, folder)
    if "boosting" in wanted:
        from server.boosting import boost

        scores = boost(build(study.settings(), changes), laboratory.together(seed=seed))
        (folder / "boosting.json").write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    if "central" in wanted:
        _centralise(build(study.settings(), changes, {"evaluation.local-baseline": False}), laboratory, folder)
    return {arm: json.loads((folder / f"{arm}.json").read_text(encoding="utf-8")) for arm in comparison.arms}


def _federate(study: Study, laboratory: Laboratory, folder: Path) -> None:
    record = perform(study, laboratory.views(seed=study.study.seed), folder)
    if family_of(study.task.name) == "coding":
        shutil.copyfile(Path(record["folder"]) / "vocabulary.txt", folder / "vocabulary.txt")
    if study.evaluation.local_baseline:
        _keep(folder / "local.json", record["baselines"]["local"]["pooled"])
    _keep(folder / "federated.json", record["final"]["pooled"])


def _transfer(study: Study, laboratory: Laboratory, folder: Path) -> None:
    """Let each hospital in turn judge what the others trained without it; scores are means over the hospitals."""
    views = laboratory.views(seed=study.study.seed)
    found: dict[str, list[float]] = {}
    for view in views:
        record = perform(build(study.settings(), {"federation.guest": read_manifest(view).site_id}), views, folder)
        for name, score in record["final"]["pooled"].items():
            if score["value"] is not None:
                found.setdefault(name, []).append(score["value"])
    text = json.dumps({name: mean(values) for name, values in found.items()}, indent=1)
    (folder / "transfer.json").write_text(text + "\n", encoding="utf-8")


def _centralise(study: Study, laboratory: Laboratory, folder: Path) -> None:
    """Train on all hospitals' records in one place, over the vocabulary the federation agreed on."""
    alone: dict[str, Value] = {"federation.quorum": 1}
    if family_of(study.task.name) == "coding":
        alone["task.vocabulary"] = str(folder / "vocabulary.txt")
    record = perform(build(study.settings(), alone), [laboratory.together(seed=study.study.seed)], folder)
    _keep(folder / "central.json", record["final"]["pooled"])


def _keep(path: Path, pooled: Mapping[str, Mapping[str, float | None]]) -> None:
    scores = {name: score["value"] for name, score in pooled.items()}
    path.write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")


def _difference(seed: Mapping[str, Scores], other: str, name: str) -> float | None:
    federated, compared = seed["federated"].get(name), seed[other].get(name)
    return None if federated is None or compared is None else federated - compared


def _spread(values: Sequence[float | None], *, signed: bool = False) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "not known"
    sign = "+" if signed else ""
    return f"{mean(known):{sign}.3f} ± {stdev(known):.3f}" if len(known) > 1 else f"{known[0]:{sign}.3f}"
