"""Steps timed side by side: every repetition runs each of them once, and ratios are taken within a repetition."""

from __future__ import annotations

import ctypes
import gc
import statistics
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Step = Callable[[], object]
    Timing = tuple[float, float]  # milliseconds by the clock and of processor time
    Pair = tuple[Timing, Timing]  # a step's own and the plain one's, from one repetition

COLUMNS = ("step", "ms", "x plain", "quartiles", "processor")


def keep_freed_memory() -> None:
    """Stops glibc from giving memory back to the kernel between steps, as a process that only trains should.

    Otherwise every step may fault its memory in again, at some 0.4 ms a MB on a virtual machine; which step of an
    interleaved run pays for that is chance.
    """
    mallopt = ctypes.CDLL(None).mallopt
    trim_threshold, mmap_threshold = -1, -3
    if not (mallopt(trim_threshold, 2**31 - 1) and mallopt(mmap_threshold, 2**30)):
        raise SystemExit("this C library has no such settings: run with --default-allocator")


def measure(steps: dict[str, Step], repetitions: int) -> dict[str, list[Pair]]:
    """Pairs (own, plain), each pair from one repetition.

    Steps many times slower than plain run in a loop of their own: gigabytes of their garbage slow what comes next.
    """
    warm = {name: time_of(step)[0] for name, step in [*steps.items(), *steps.items()]}
    fast = {name: step for name, step in steps.items() if warm[name] < 4 * warm["plain"]}
    slow = {name: step for name, step in steps.items() if name not in fast}
    pairs = interleave(fast, repetitions)
    return (interleave({"plain": steps["plain"]} | slow, 3) if slow else {}) | pairs


def interleave(steps: dict[str, Step], repetitions: int) -> dict[str, list[Pair]]:
    pairs: dict[str, list[Pair]] = {name: [] for name in steps}
    for _ in range(repetitions):
        times = {name: time_of(step) for name, step in steps.items()}
        for name, own in times.items():
            pairs[name].append((own, times["plain"]))
    return pairs


def time_of(step: Step) -> Timing:
    gc.collect()
    wall, processor = time.perf_counter(), time.process_time()
    step()
    return 1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - processor)


def ratio_cells(pairs: Sequence[Pair]) -> list[str]:
    """A step's row under `COLUMNS`, without its name."""
    low, middle, high = statistics.quantiles([own[0] / plain[0] for own, plain in pairs], n=4)
    processor = statistics.median(own[1] / plain[1] for own, plain in pairs)
    return [
        f"{statistics.median(own[0] for own, _ in pairs):.1f}",
        f"{middle:.2f}",
        f"{low:.2f}-{high:.2f}",
        f"{processor:.2f}",
    ]
