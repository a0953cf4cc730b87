"""Epsilon of many steps: ours against Opacus' PRV accountant and dp-accounting's PLD, interleaved in one process.

    OMP_NUM_THREADS=2 python benchmarks/accounting.py [--repetitions 5]

All three bound the same quantity from above. Opacus runs with its defaults (an error of .01 in epsilon), dp-accounting
with its default grid (1e-4) and with the grid on which `certify` confirms. Nothing is cached between repetitions: each
runs at noise multipliers of its own, a millionth apart.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from typing import TYPE_CHECKING

import numpy as np
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
from dp_accounting.pld import PLDAccountant
from opacus.accountants import PRVAccountant

from privacy.accounting import PoissonGaussian, certify, epsilon
from privacy.composition import grid_width

if TYPE_CHECKING:
    from collections.abc import Callable

DELTA = 1e-5
ONE = [PoissonGaussian(0.02, 1.0, 10_000)]
TWENTY = [PoissonGaussian(0.01 + 0.002 * i, 0.8 + 0.05 * i, 500) for i in range(20)]


def main() -> None:
    options = parse_options()
    warnings.filterwarnings("ignore", message="Optimal order is the")
    for name, events in (("1 entry of 10,000 steps", ONE), ("20 entries of 500 steps", TWENTY)):
        compare(name, events, options.repetitions)


def compare(name: str, events: list[PoissonGaussian], repetitions: int) -> None:
    peers: dict[str, Callable[[list[PoissonGaussian]], float]] = {
        "epsilon (ours)": lambda events: epsilon(events, delta=DELTA),
        "certify (ours, then PLD)": lambda events: certify(events, delta=DELTA),
        "dp-accounting, grid of certify": lambda events: pld(events, width=confirming_width(events)),
        "dp-accounting, default grid": lambda events: pld(events, width=1e-4),
        "Opacus PRV": opacus,
    }
    for work in peers.values():  # imports and caches of the process are not the subject
        work([PoissonGaussian(0.3, 5.0, 3)])
    seconds: dict[str, list[float]] = {peer: [] for peer in peers}
    bounds: dict[str, float] = {}
    for repetition in range(repetitions):
        for number, (peer, work) in enumerate(peers.items()):
            shift = 1e-6 * (1 + number + len(peers) * repetition)
            shifted = [PoissonGaussian(e.sampling_rate, e.noise_multiplier * (1 + shift), e.steps) for e in events]
            start = time.perf_counter()
            bounds[peer] = work(shifted)
            seconds[peer].append(time.perf_counter() - start)
    ours = next(iter(peers))
    print(f"{name}, delta {DELTA:g}: medians of {repetitions}, range of the ratios in brackets")
    for peer in peers:
        ratios = [mine / theirs for mine, theirs in zip(seconds[ours], seconds[peer], strict=True)]
        print(
            f"  {peer:32s} {statistics.median(seconds[peer]):9.4f} s   epsilon {bounds[peer]:.5f} "
            f"({bounds[peer] / bounds[ours] - 1:+.2e})   ours / it {statistics.median(ratios):.4f} "
            f"[{min(ratios):.4f}, {max(ratios):.4f}]"
        )


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=5)
    return parser.parse_args()


def confirming_width(events: list[PoissonGaussian]) -> float:
    groups = tuple((e.sampling_rate, e.noise_multiplier, e.steps) for e in events)
    return grid_width(groups, DELTA, closeness=1e-3, around=epsilon(events, delta=DELTA))


def pld(events: list[PoissonGaussian], *, width: float) -> float:
    accountant = PLDAccountant(value_discretization_interval=width)
    for event in events:
        step = PoissonSampledDpEvent(event.sampling_rate, GaussianDpEvent(event.noise_multiplier))
        accountant.compose(SelfComposedDpEvent(step, event.steps))
    return float(accountant.get_epsilon(DELTA))


def opacus(events: list[PoissonGaussian]) -> float:
    accountant = PRVAccountant()
    accountant.history = [(e.noise_multiplier, e.sampling_rate, e.steps) for e in events]
    with np.errstate(divide="ignore"):
        return float(accountant.get_epsilon(DELTA))


if __name__ == "__main__":
    main()
