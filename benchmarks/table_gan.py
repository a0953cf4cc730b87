"""Is Wardround's own table GAN faster than `ctgan` at equal settings, and are its rows as good at equal time?

    python benchmarks/table_gan.py speed DATA [--repetitions 15]
    python benchmarks/table_gan.py modes DATA
    python benchmarks/table_gan.py quality DATA [--tables diabetes130 pima] [--steps 2400] [--seeds 3]

`speed` times a step of both at equal batch, pack, noise, layers and columns of categories, on 6,000 patients of
diabetes130; ctgan's own training loop runs as it is. `modes` fits the modes of every column of numbers with more than
two values as ctgan's normaliser does, on two thirds of the rows, and compares the likelihood of the third. `quality`
fits both on two thirds of a table, ours for twice as many steps, which is less processor time, and scores both by
`synth.scores` on the rest; what is finished is kept in a folder (`--kept`). DATA holds `diabetes130`, `pima` and
`cirrhosis_pbc`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from planted_leaks import bounds_of, read_real
from rich.console import Console
from rich.table import Table
from timing import COLUMNS, interleave, ratio_cells

from synth.admission import admit
from synth.evidence import gather
from synth.generators import make_generator
from synth.generators.duel import Duel, Sizes
from synth.generators.gan import learn_rows
from synth.generators.mixed_rows import FEW
from synth.modes import Modes, fit_modes
from synth.scores.fidelity import describe_fidelity
from synth.scores.utility import measure_utility

if TYPE_CHECKING:
    from collections.abc import Callable

    from synth.spec import TableSpec

TARGETS = {"diabetes130": "readmitted", "pima": "Outcome"}
STEPS = 12  # one epoch of 6,000 rows
SHOWN = Console(width=110)


def own_steps(table: pd.DataFrame, spec: TableSpec) -> Callable[[], object]:
    rng = np.random.default_rng(1)
    learned = learn_rows(admit(table, spec), spec, rng)
    duel = Duel(learned.layout, learned.conditions, Sizes(batch=500, pack=10, noise=128, hidden=256, rate=2e-4), rng)
    print(f"ours: {learned.layout.width} components and {len(learned.conditions.counts)} conditions")

    def steps() -> None:
        for _ in range(STEPS):
            duel.step(learned.training, rng)

    return steps


def peer_steps(table: pd.DataFrame, spec: TableSpec) -> Callable[[], object]:
    """Ctgan's own loop for one epoch; transforming the table and indexing its rows is not timed."""
    from ctgan.synthesizers import ctgan

    listed = [c.name for c in spec.columns if c.kind == "categorical" or table[c.name].nunique() <= FEW]
    plain = table.assign(**{name: table[name].astype(object).fillna("missing").astype(str) for name in listed})
    transformer, data = ctgan.DataTransformer(), None
    transformer.fit(plain, listed)
    data = transformer.transform(plain)
    sampler = ctgan.DataSampler(data, transformer.output_info_list, True)
    print(f"ctgan: {transformer.output_dimensions} components and {sampler.dim_cond_vec()} conditions")
    transformer.fit = lambda *_: None
    transformer.transform = lambda _: data
    ctgan.DataTransformer = lambda: transformer
    ctgan.DataSampler = lambda *_: sampler
    return lambda: ctgan.CTGAN(epochs=1, enable_gpu=False).fit(plain, listed)


def show_speed(data: Path, repetitions: int) -> None:
    table = read_real("diabetes130", data)
    spec = bounds_of(table)
    steps = {"plain": own_steps(table, spec), "ctgan": peer_steps(table, spec)}
    interleave(steps, 2)
    pairs = interleave(steps, repetitions)
    shown = Table(*COLUMNS, title=f"{STEPS} steps of 500 rows, {torch.get_num_threads()} threads")
    for name, cells in pairs.items():
        shown.add_row("ours (= plain)" if name == "plain" else name, *ratio_cells(cells))
    SHOWN.print(shown)


def columns_of_numbers(data: Path) -> dict[str, np.ndarray]:
    found = {}
    for name in ("diabetes130", "pima", "cirrhosis"):
        table = read_real(name, data)
        for column in bounds_of(table).columns:
            if column.kind in {"integer", "real"} and column.levels > 2:
                found[f"{name}, {column.name}"] = table[column.name].dropna().to_numpy(dtype=np.float64)
    return found


def show_modes(data: Path) -> None:
    from rdt.transformers import ClusterBasedNormalizer

    ratios, gains, clocks = [], [], [0.0, 0.0]
    for name, column in columns_of_numbers(data).items():
        values = np.random.default_rng(0).permutation(column)
        training, held = values[len(values) // 3 :], values[: len(values) // 3]
        peer = ClusterBasedNormalizer(max_clusters=10, missing_value_generation="from_column")
        frame = pd.DataFrame({"x": training})
        times: list[list[float]] = [[], []]
        for _ in range(3):
            start = time.process_time()
            ours = fit_modes(training, 10)
            middle = time.process_time()
            peer.fit(frame, "x")
            times[0].append(middle - start)
            times[1].append(time.process_time() - middle)
        own, other = (statistics.median(each) for each in times)
        mixture, kept = peer._bgm_transformer, peer.valid_component_indicator  # noqa: SLF001
        weights = mixture.weights_[kept] / mixture.weights_[kept].sum()
        theirs = Modes(weights, mixture.means_[kept, 0], np.sqrt(mixture.covariances_[kept, 0, 0]))
        gains.append(_likelihood(ours, held) - _likelihood(theirs, held))
        ratios.append(other / own)
        clocks = [clocks[0] + own, clocks[1] + other]
        counts = f"{len(ours.means):2} modes {1e3 * own:6.1f} ms, rdt {len(weights):2} modes {1e3 * other:6.1f} ms"
        print(f"{name:36} {counts}, held-out log likelihood {gains[-1]:+.3f}")
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(
        f"{len(ratios)} columns: rdt takes {clocks[1] / clocks[0]:.1f} times ours in all, by column {middle:.1f}",
        end=" ",
    )
    print(f"(quartiles {low:.1f}-{high:.1f}, least {min(ratios):.1f}); held-out log likelihood over rdt's: ", end="")
    print(f"mean {statistics.mean(gains):+.3f}, median {statistics.median(gains):+.3f}, least {min(gains):+.3f}")


def _likelihood(modes: Modes, values: np.ndarray) -> float:
    return float(np.logaddexp.reduce(modes.joint(values), axis=1).mean())


def settings_of(table: pd.DataFrame, steps: int) -> dict[str, dict[str, Any]]:
    """Settings of both generators when ctgan takes so many steps on two thirds of the table."""
    epoch = max((len(table) - len(table) // 3) // 500, 1)
    return {"gan": {"steps": 2 * steps}, "ctgan": {"epochs": steps // epoch}}


def one_fit(table: pd.DataFrame, spec: TableSpec, seed: int, name: str, settings: dict[str, Any]) -> dict[str, float]:
    order = np.random.default_rng(seed).permutation(len(table))
    holdout, training = table.iloc[order[: len(table) // 3]], table.iloc[order[len(table) // 3 :]]
    start = time.process_time()
    fitted = make_generator(name, settings).fit(training, spec, rng=np.random.default_rng(seed), privacy=None)
    spent = time.process_time() - start
    evidence = gather(training, holdout, fitted.sample(len(training), np.random.default_rng(seed + 1000)), spec)
    scores = describe_fidelity(evidence, np.random.default_rng(seed))
    scores |= measure_utility(evidence, np.random.default_rng(seed), groups=(), fewest=100, threshold=0.9)
    return {"seconds": spent} | {name: score.value for name, score in scores.items() if score.value is not None}


def show_quality(data: Path, tables: list[str], seeds: int, steps: int, kept: Path) -> None:
    kept.mkdir(parents=True, exist_ok=True)
    for name in tables:
        table = read_real(name, data)
        spec = replace(bounds_of(table), target=TARGETS[name])
        runs: dict[str, list[dict[str, float]]] = {"gan": [], "ctgan": []}
        for seed in range(seeds):
            for generator, found in runs.items():
                file = kept / f"{name}-{generator}-{steps}-{seed}.json"
                if not file.exists():
                    file.write_text(
                        json.dumps(one_fit(table, spec, seed, generator, settings_of(table, steps)[generator]))
                    )
                found.append(json.loads(file.read_text()))
        shown = Table("score", "gan", "ctgan", "gan less ctgan", title=f"{name}, {seeds} seeds, {steps} steps of ctgan")
        for score in runs["gan"][0]:
            own, other = (np.array([run[score] for run in runs[g]]) for g in ("gan", "ctgan"))
            shown.add_row(score, *(interval(values) for values in (own, other, own - other)))
        SHOWN.print(shown)


def interval(values: np.ndarray) -> str:
    """Mean and Student's interval over seeds."""
    from scipy.stats import t

    half = (
        t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
    )
    digits = 1 if abs(values.mean()) >= 10 else 3
    return f"{values.mean():.{digits}f} ± {half:.{digits}f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["speed", "modes", "quality"])
    parser.add_argument("data", type=Path)
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--tables", nargs="+", default=list(TARGETS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--kept", type=Path, default=Path("runs/table_gan"))
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    if given.what == "speed":
        show_speed(given.data, given.repetitions)
    elif given.what == "modes":
        show_modes(given.data)
    else:
        show_quality(given.data, given.tables, given.seeds, given.steps, given.kept)


if __name__ == "__main__":
    main()
