"""What federating costs beside the training itself: our in-process run, and Flower's, against a plain PyTorch loop.

    python benchmarks/federation.py [--patients 2000] [--rounds 20] [--heads mlp-s ...] [--without-flower]

The plain loop does what the federated run does and no more: it reads the same hospitals, takes as many optimizer steps
on batches of the same size, looks at the tuning split every round, averages weights by patients and scores the held-out
split; it has no messages, policies, screening, thresholds, intervals or record. Both are repeated in turn in one
process, caches emptied; ratios are of neighbouring repetitions, by the clock and by processor time, which other
programs disturb less. Then `wardround run` does the same study under Flower and Ray.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from clients import cohort
from clients.hospital import locate
from clinical.models import build_model
from clinical.networks import list_hospitals
from server.laboratory import Laboratory, perform
from server.launch import Launch, launch
from study.defaults import build, read_settings
from study.home import home

if TYPE_CHECKING:
    from collections.abc import Callable

    from study.protocol import Study, Value


@dataclass(frozen=True, slots=True)
class Seconds:
    """What one repetition took: by the clock, of processor time, and its rounds by the clock."""

    whole: float
    processor: float
    rounds: float


def main() -> None:
    options = parse_options()
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as scratch:
        changes: dict[str, Value] = {
            **read_settings(Path("study/presets/plain.toml")),
            "study.output": f"{scratch}/runs",
            "data.patients": options.patients,
            "federation.rounds": options.rounds,
            "federation.wait-seconds": 1.0,
            "evaluation.local-baseline": False,
            "evaluation.replicates": 0,
        }
        study = build(changes)
        locate(study, {"partition-id": 0})  # makes the simulated network in Wardround's home where it is not there
        name = f"hospitals{study.data.hospitals}-patients{options.patients}-seed{study.study.seed}"
        network = list_hospitals(home() / "simulated" / name)
        for hospital in network:
            cohort.embed(study, locate(study, {"data": str(hospital)}))  # embedding is not what is measured here
        hospitals = Laboratory(tuple(network), Path(scratch)).views(seed=0)
        first = perform(study, hospitals, Path(scratch))
        codes = tuple((Path(first["folder"]) / "vocabulary.txt").read_text(encoding="utf-8").split())
        print(f"{len(hospitals)} hospitals, {options.patients} patients, {len(codes)} codes, {options.rounds} rounds")
        for head in options.heads:
            in_process = compare(build(changes, {"model.name": head}), hospitals, codes, Path(scratch), options)
            if not options.without_flower:
                flower({**changes, "model.name": head}, in_process=in_process)


def compare(
    study: Study, hospitals: list[Path], codes: tuple[str, ...], scratch: Path, options: argparse.Namespace
) -> float:
    """Repeat both in turn; return the median seconds of a round in process."""
    ours: list[Seconds] = []
    plain: list[Seconds] = []
    for _ in range(options.repetitions):
        ours.append(timed(lambda: federated(study, hospitals, scratch)))
        plain.append(timed(lambda: plain_loop(study, hospitals, codes)))
    print(f"\n{study.model.name}")
    report("whole arm, from reading to scores, clock", [o.whole for o in ours], [p.whole for p in plain])
    report("whole arm, processor time", [o.processor for o in ours], [p.processor for p in plain])
    report("rounds only, clock", [o.rounds for o in ours], [p.rounds for p in plain])
    return statistics.median(o.rounds for o in ours) / study.federation.rounds


def federated(study: Study, hospitals: list[Path], scratch: Path) -> float:
    """Run the study in this process; return the seconds of its rounds."""
    return float(perform(study, hospitals, scratch)["seconds"]["rounds"])


def plain_loop(study: Study, hospitals: list[Path], codes: tuple[str, ...]) -> float:
    """Federated averaging as a short script would do it; return the seconds of its rounds."""
    sites = [cohort.assemble(study, locate(study, {"data": str(hospital)}), codes) for hospital in hospitals]
    features = sites[0].train.features.shape[1]
    model = build_model(study.model.name, features=features, codes=len(codes), dropout=0.0, seed=0)
    weights = np.array([site.train.patients for site in sites], dtype=float)
    weights /= weights.sum()
    started = time.perf_counter()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for _ in range(study.federation.rounds):
        merged = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
        for site, weight in zip(sites, weights, strict=True):
            model.load_state_dict(state)
            with torch.inference_mode():
                bce(model(site.tuning.features), torch.from_numpy(site.tuning.labels.toarray()).float())
            train(study, model, site.train)
            for name, tensor in model.state_dict().items():
                merged[name] += float(weight) * tensor
        state = merged
    seconds = time.perf_counter() - started
    with torch.inference_mode():
        for site in sites:
            model(site.held_out.features)
    return seconds


def train(study: Study, model: torch.nn.Module, examples: Any) -> None:
    """One local epoch over batches of shuffled patients."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=study.training.learning_rate, weight_decay=0.0)
    size = min(study.training.batch_patients, examples.patients)
    order = np.random.default_rng(0).permutation(examples.patients)
    steps = max(1, round(study.training.local_epochs * examples.patients / size))
    for step in range(steps):
        batch = examples.batch(np.sort(order[step * size : (step + 1) * size]))
        optimizer.zero_grad()
        bce(model(batch.features), batch.labels, reduction="none").sum(1).mean().backward()
        optimizer.step()


def timed(work: Callable[[], float]) -> Seconds:
    """Run a repetition with nothing remembered from before."""
    for cache in (cohort._documents, cohort._embeddings, cohort._cohort, cohort._encoder):  # noqa: SLF001
        cache.cache_clear()
    started, processor = time.perf_counter(), time.process_time()
    rounds = work()
    return Seconds(time.perf_counter() - started, time.process_time() - processor, rounds)


def report(what: str, ours: list[float], plain: list[float]) -> None:
    ratios = [a / b for a, b in zip(ours, plain, strict=True)]
    print(
        f"{what}: in-process {statistics.median(ours):.2f} s, plain loop {statistics.median(plain):.2f} s, "
        f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}, {len(ratios)} pairs)"
    )


def flower(changes: dict[str, Value], *, in_process: float) -> None:
    """The same study under Flower and Ray: what a round takes there, and what comes before the first."""
    started = time.time()
    folder = launch(Launch(changes), quiet=True)
    took = time.time() - started
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    rounds = [entry["seconds"] for entry in record["rounds"]]
    middle = statistics.median(rounds[1:])
    print(
        f"under Flower and Ray: {took:.1f} s in all, {record['seconds']['total']:.1f} s of it in the study; "
        f"first round {rounds[0]:.2f} s, then {middle:.3f} s a round ({min(rounds[1:]):.3f} to {max(rounds[1:]):.3f}), "
        f"in-process {in_process:.3f} s: Flower adds {middle - in_process:+.3f} s a round"
    )


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--heads", nargs="+", default=["mlp-s", "mlp-m", "mlp-l"])
    parser.add_argument("--without-flower", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
