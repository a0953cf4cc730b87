"""Was federating worth it? The same patients, trained together in one place, federated, and each hospital alone.

A comparison is a laboratory exercise: it presupposes that one party holds all the records, so nothing is released and
each run charges a ledger of its own inside the comparison's folder. Every arm of a seed shares patients, splits, code
vocabulary and settings; what differs is who sees whom. Finished arms are kept, so a comparison resumes.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from study.defaults import APPLICATION, build

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flwr.clientapp import ClientApp

    from study.protocol import Study, Value

ARMS = ("central", "federated", "local")
METRICS = ("micro_f1", "macro_f1", "precision_at_8", "mean_average_precision", "micro_auc")

Scores = dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is compared, on which hospitals, how often, and where it is kept."""

    changes: Mapping[str, Value]
    network: Path | None  # None means the study's simulated network
    arms: tuple[str, ...]
    seeds: int
    output: Path

    def __post_init__(self) -> None:
        """Refuse arms that do not exist."""
        unknown = [arm for arm in self.arms if arm not in ARMS]
        if unknown or not self.arms:
            raise ValueError(f"unknown arm {', '.join(unknown) or '(none)'}: choose from {', '.join(ARMS)}")


def compare_arms(comparison: Comparison) -> str:
    """Run every arm under every seed that is not finished yet.

    Returns:
        The table as Markdown, which is also written to ``comparison.md`` in the folder, beside ``comparison.json``.

    Raises:
        ProtocolError: the study cannot be run as written.
        StudyFailed: a run failed; what was finished before stays.
    """
    from rich.console import Console
    from rich.progress import track

    study = build(comparison.changes, {"study.output": str(comparison.output / "runs")})
    hospitals = _hospitals(comparison, study)
    seeds = track(range(comparison.seeds), description="seeds", console=Console(stderr=True), transient=True)
    found = [_seed(comparison, study, hospitals, seed) for seed in seeds]
    table = tabulate(comparison.arms, found)
    (comparison.output / "comparison.md").write_text(table + "\n", encoding="utf-8")
    settings = build(comparison.changes).settings()
    kept = {"arms": list(comparison.arms), "settings": settings, "seeds": found}
    (comparison.output / "comparison.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return table


def tabulate(arms: Sequence[str], found: Sequence[Mapping[str, Scores]]) -> str:
    """Draw arms against metrics: mean ± sd over the seeds, then differences paired by seed.

    Args:
        arms: the arms to show, in order.
        found: for every seed, each arm's scores.
    """
    head = ["arm", *(name.replace("_", " ") for name in METRICS)]
    rows = [[arm, *(_spread([seed[arm][name] for seed in found]) for name in METRICS)] for arm in arms]
    for other in ("central", "local"):
        if other in arms and "federated" in arms:
            cells = [_spread([_difference(seed, other, name) for seed in found], signed=True) for name in METRICS]
            rows.append([f"federated − {other}", *cells])
    lines = [head, ["---"] * len(head), *rows]
    caption = f"Mean ± sd over {len(found)} seeds; differences are paired by seed."
    return "\n".join([*("| " + " | ".join(line) + " |" for line in lines), "", caption])


def _hospitals(comparison: Comparison, study: Study) -> list[Path]:
    from clinical.events import list_hospitals
    from clinical.simulation import simulate_network

    if comparison.network is not None:
        return list_hospitals(comparison.network)
    network = comparison.output / "network"
    if not network.is_dir():
        simulate_network(network, hospitals=study.data.hospitals, patients=study.data.patients, seed=study.study.seed)
    return list_hospitals(network)


def _seed(comparison: Comparison, study: Study, hospitals: Sequence[Path], seed: int) -> dict[str, Scores]:
    """Run the arms of one seed; each arm's scores are written when it is done."""
    folder = comparison.output / f"seed-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [arm for arm in comparison.arms if not (folder / f"{arm}.json").is_file()]
    if wanted:
        views = [
            _view(hospital, folder / "hospitals", comparison.output / "embeddings", seed) for hospital in hospitals
        ]
        if not (folder / "federated.json").is_file() or "local" in wanted:
            _federate(comparison, study, views, folder, seed)
        if "central" in wanted:
            _centralise(study, views, folder, comparison.output / "embeddings", seed)
    return {arm: json.loads((folder / f"{arm}.json").read_text(encoding="utf-8")) for arm in comparison.arms}


def _view(hospital: Path, views: Path, embeddings: Path, seed: int) -> Path:
    """Lay a hospital's records under splits of this seed, sharing the records and the embeddings."""
    from clinical.partition import split_hospital
    from clinical.site_policy import SIMULATED_POLICY

    view = views / hospital.name
    if not (view / "policy.toml").is_file():
        shutil.rmtree(view, ignore_errors=True)
        view.mkdir(parents=True)
        (view / "data").symlink_to((hospital / "data").resolve(), target_is_directory=True)
        shutil.copytree(hospital / "metadata", view / "metadata")
        _share(view, embeddings)
        split_hospital(view, seed=seed)
        # nothing leaves a laboratory, and a withheld cell would score the arms over different codes
        policy = SIMULATED_POLICY.replace("minimum_cell = 5", "minimum_cell = 1")
        (view / "policy.toml").write_text(policy, encoding="utf-8")
    return view


def _share(view: Path, embeddings: Path) -> None:
    embeddings.mkdir(parents=True, exist_ok=True)
    (view / "embeddings").symlink_to(embeddings.resolve(), target_is_directory=True)


def _federate(comparison: Comparison, study: Study, views: Sequence[Path], folder: Path, seed: int) -> None:
    changes: dict[str, Value] = {"study.seed": seed, "evaluation.local-baseline": "local" in comparison.arms}
    record = _conduct(build(study.settings(), changes), views, folder)
    run = Path(record["folder"])
    shutil.copyfile(run / "vocabulary.txt", folder / "vocabulary.txt")
    _keep(folder / "federated.json", record["final"]["pooled"])
    if "local" in comparison.arms:
        _keep(folder / "local.json", record["baselines"]["local"]["pooled"])


def _centralise(study: Study, views: Sequence[Path], folder: Path, embeddings: Path, seed: int) -> None:
    """Train on all hospitals' records in one place, over the vocabulary the federation agreed on."""
    from clinical.merge import merge_hospitals

    merged = folder / "central"
    if not (merged / "policy.toml").is_file():
        shutil.rmtree(merged, ignore_errors=True)
        merge_hospitals(views, merged)
        _share(merged, embeddings)
        shutil.copyfile(views[0] / "policy.toml", merged / "policy.toml")
    changes: dict[str, Value] = {
        "study.seed": seed,
        "federation.quorum": 1,
        "evaluation.local-baseline": False,
        "task.vocabulary": str(folder / "vocabulary.txt"),
    }
    record = _conduct(build(study.settings(), changes), [merged], folder)
    _keep(folder / "central.json", record["final"]["pooled"])


def _conduct(study: Study, hospitals: Sequence[Path], folder: Path) -> dict[str, Any]:
    from server.app import app as server_app
    from server.archive import run_folder
    from server.inprocess import conduct

    ledgers = folder / "ledgers"
    ledgers.mkdir(exist_ok=True)
    nodes = [{"data": str(path), "ledger": str(ledgers / f"{path.name}.db")} for path in hospitals]
    run = conduct(study, server_app, client_application(), nodes)
    place = run_folder(study, run)
    return {"folder": str(place), **json.loads((place / "run.json").read_text(encoding="utf-8"))}


def client_application() -> ClientApp:
    """Load the hospitals' application as Flower does, from its declaration in ``pyproject.toml``."""
    import tomllib

    project = tomllib.loads((APPLICATION / "pyproject.toml").read_text(encoding="utf-8"))
    module, _, name = project["tool"]["flwr"]["app"]["components"]["clientapp"].partition(":")
    application: ClientApp = getattr(import_module(module), name)
    return application


def _keep(path: Path, pooled: Mapping[str, Mapping[str, float | None]]) -> None:
    scores = {name: score["value"] for name, score in pooled.items()}
    path.write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")


def _difference(seed: Mapping[str, Scores], other: str, name: str) -> float | None:
    federated, compared = seed["federated"][name], seed[other][name]
    return None if federated is None or compared is None else federated - compared


def _spread(values: Sequence[float | None], *, signed: bool = False) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "not known"
    sign = "+" if signed else ""
    return f"{mean(known):{sign}.3f} ± {stdev(known):.3f}" if len(known) > 1 else f"{known[0]:{sign}.3f}"
