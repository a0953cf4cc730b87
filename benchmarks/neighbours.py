"""Exact nearest neighbours of mixed rows against faiss' flat L1 index and scikit-learn, interleaved in one process.

    python benchmarks/neighbours.py [--rows 10000] [--repetitions 5] [--threads 1] [--without-sklearn]

Both tables have 10 numbers in [0, 1] and 10 categories of 6 values, independent: the hardest case for leaving early.
The peers get the same distance as L1 on 70 columns: numbers as they are, categories one-hot at a half, so that two
different categories are 1 apart. faiss is no dependency: `pip install faiss-cpu` beside the project. Ratios are medians
over repetitions of a peer's time over ours of the *same* repetition, by the clock and by processor time.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table
from timing import COLUMNS, interleave, ratio_cells, time_of

from synth.neighbours import nearest

if TYPE_CHECKING:
    from timing import Step

    from synth.distances import Rows

NUMBERS, CATEGORIES, LEVELS = 10, 10, 6


def draw_rows(count: int, rng: np.random.Generator) -> Rows:
    numbers = rng.random((count, NUMBERS))
    return np.column_stack([numbers, rng.integers(0, LEVELS, (count, CATEGORIES))]).astype(np.float32)


def as_l1(rows: Rows) -> Rows:
    """The same distances for a search that knows L1 alone."""
    hot = np.eye(LEVELS, dtype=np.float32)[rows[:, NUMBERS:].astype(int)].reshape(len(rows), -1) / 2
    return np.ascontiguousarray(np.column_stack([rows[:, :NUMBERS], hot]))


def faiss_step(rows: Rows, among: Rows, threads: int) -> Step:
    try:
        import faiss
    except ImportError:
        raise SystemExit("faiss is needed beside the project: pip install faiss-cpu") from None
    faiss.omp_set_num_threads(threads)
    index = faiss.IndexFlat(among.shape[1], faiss.METRIC_L1)
    index.add(among)
    return lambda: index.search(rows, 1)


def sklearn_step(rows: Rows, among: Rows, threads: int) -> Step:
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=1, algorithm="brute", metric="manhattan", n_jobs=threads).fit(among)
    return lambda: search.kneighbors(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--without-sklearn", action="store_true")
    given = parser.parse_args()
    rng = np.random.default_rng(7)
    rows, among = draw_rows(given.rows, rng), draw_rows(given.rows, rng)
    wide, wide_among = as_l1(rows), as_l1(among)
    first = time_of(lambda: nearest(rows[:1], among, threads=given.threads))[0]
    steps: dict[str, Step] = {
        "plain": lambda: nearest(rows, among, threads=given.threads),
        "faiss flat L1": faiss_step(wide, wide_among, given.threads),
    }
    found: tuple[np.ndarray, np.ndarray] = steps["faiss flat L1"]()  # type: ignore[assignment]
    worst = float(np.abs(found[0] - nearest(rows, among).distance).max())
    if not given.without_sklearn:
        steps["scikit-learn, brute, Manhattan"] = sklearn_step(wide, wide_among, given.threads)
    table = Table(*COLUMNS, title=f"{given.rows} x {given.rows} rows, 20 mixed columns, the nearest one")
    for name, pairs in interleave(steps, given.repetitions).items():
        table.add_row({"plain": "ours (= plain)"}.get(name, name), *ratio_cells(pairs))
    console = Console(width=100)
    console.print(f"{os.cpu_count()} processors, {given.threads} threads, {given.repetitions} repetitions")
    console.print(table)
    console.print(f"compiling, once a process: {first:.0f} ms; farthest from faiss' distances: {worst:.1e}")


if __name__ == "__main__":
    main()
