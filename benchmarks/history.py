"""Does a state space model bear long histories better than a Transformer? A training step of each as histories grow.

    python benchmarks/history.py [--threads 1] [--batch 1] [--longest 16384] [--output FOLDER]

One step is a forward and a backward pass of the platform's own models over random events as wide as event streams are.
Beside them stands the state space model with its recurrence run step by step, as its definition says it. Every cell is
a process of its own, so its peak memory is its own; memory is what the step adds to a process that has built model and
inputs. Times are of the processor, which a busy machine disturbs less than the clock, and medians of several steps
after one that warms up; exponents are slopes of the logarithms. Writes history.md and history.png to the output folder.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

FEATURES, LENGTHS = 133, (1024, 2048, 4096, 8192, 16384)
VARIANTS = ("ssm", "ssm, step by step", "transformer")
MEASURED_SECONDS, MOST_STEPS = 6.0, 7


def main() -> None:
    options = parse_options()
    if options.cell:
        variant, length = options.cell
        print(json.dumps(measure(variant, int(length), options)))
        return
    began = time.perf_counter()
    lengths = [length for length in LENGTHS if length <= options.longest]
    found = {(variant, length): cell(variant, length, options) for length in lengths for variant in VARIANTS}
    options.output.mkdir(parents=True, exist_ok=True)
    text = describe(found, lengths, options, seconds=time.perf_counter() - began)
    (options.output / "history.md").write_text(text, encoding="utf-8")
    draw(found, lengths, options.output / "history.png")
    print(text)


def cell(variant: str, length: int, options: argparse.Namespace) -> dict[str, float]:
    """Measure one cell in a process of its own."""
    words = [sys.executable, __file__, "--cell", variant, str(length)]
    words += ["--threads", str(options.threads), "--batch", str(options.batch)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{variant} over {length} events ended with {done.returncode}: {done.stderr[-500:]}")
    return json.loads(done.stdout)


def measure(variant: str, length: int, options: argparse.Namespace) -> dict[str, float]:
    """Take steps; the median's milliseconds, and MB that the steps added at their peak."""
    import torch

    torch.set_num_threads(options.threads)
    step = training_step(variant, length, options.batch)
    before = peak_mb()
    step()
    times = []
    while len(times) < 3 or (sum(times) < MEASURED_SECONDS and len(times) < MOST_STEPS):
        start = time.process_time()
        step()
        times.append(time.process_time() - start)
    return {"ms": 1000 * statistics.median(times), "mb": peak_mb() - before}


def training_step(variant: str, length: int, batch: int) -> Callable[[], None]:
    """Build a model and its inputs, and run both once over a short history, so that libraries have what they need."""
    import torch

    from clinical.models import build_model, ssm

    if variant == "ssm, step by step":
        ssm.scan = one_step_after_another
    model = build_model(variant.partition(",")[0], features=FEATURES, codes=1, dropout=0.0, seed=0)
    events = torch.randn(batch, length, FEATURES, generator=torch.Generator().manual_seed(1))

    def step() -> None:
        take_step(model, events)

    take_step(model, events[:, :64])
    return step


def take_step(model: nn.Module, events: Tensor) -> None:
    """One forward and one backward pass; the answer stands at the last event."""
    from torch.nn.functional import softplus

    model.zero_grad(set_to_none=True)
    softplus(model(events)[:, -1]).sum().backward()


def one_step_after_another(step: Tensor, rate: Tensor, drive: Tensor, put: Tensor, read: Tensor) -> Tensor:
    """The recurrence of `clinical.models.scan`, by autograd."""
    import torch

    state, seen = torch.zeros_like(rate), []
    kept, added = torch.exp(step[..., None] * rate[:, None]), drive[..., None] * put[:, :, None]
    for keep, add, look in zip(kept.unbind(1), added.unbind(1), read.unbind(1), strict=True):
        state = torch.addcmul(add, keep, state)
        seen.append((state @ look[:, :, None]).squeeze(2))
    return torch.stack(seen, dim=1)


def peak_mb() -> float:
    """The most memory this process has had."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def exponent(lengths: list[int], values: list[float]) -> float:
    """The slope of the logarithms."""
    return float(np.polyfit(np.log(lengths), np.log(np.maximum(values, 0.1)), 1)[0])


def describe(
    found: dict[tuple[str, int], dict[str, float]], lengths: list[int], options: argparse.Namespace, *, seconds: float
) -> str:
    """Write the tables as Markdown."""
    import torch

    setting = (
        f"torch {torch.__version__}, {platform.machine()}, batch {options.batch}, {FEATURES} features an event, "
        f"{seconds / 60:.1f} minutes in all."
    )
    lines = [
        "# Long histories: a state space model beside a Transformer",
        "",
        f"`python benchmarks/history.py --threads {options.threads} --batch {options.batch}`:",
        setting,
        "An exponent of 1 is growth in proportion, of 2 with the square.",
        f"Load averages at the end: {', '.join(f'{load:.1f}' for load in os.getloadavg())} on {os.cpu_count()} cores.",
        "",
    ]
    for title, key in (
        ("Processor milliseconds of a training step", "ms"),
        ("MB that a training step adds at its peak", "mb"),
    ):
        lines += [f"| {title} | {' | '.join(f'{length:,}' for length in lengths)} | exponent | from 4,096 on |"]
        lines += ["|---" + "|---:" * (len(lengths) + 2) + "|"]
        for variant in VARIANTS:
            values = [found[variant, length][key] for length in lengths]
            cells = " | ".join(f"{value:,.0f}" for value in values)
            late = [length for length in lengths if length >= 4096]
            tail = f"{exponent(late, values[-len(late) :]):.2f}" if len(late) > 1 else ""
            lines.append(f"| {variant} | {cells} | {exponent(lengths, values):.2f} | {tail} |")
        lines.append("")
    ratios = [found["transformer", length]["ms"] / found["ssm", length]["ms"] for length in lengths]
    lines += [
        "Transformer's time over the state space model's: "
        + ", ".join(f"{ratio:.2f} at {length:,}" for ratio, length in zip(ratios, lengths, strict=True))
        + ".",
        "",
        "![time and memory against the length of the history](history.png)",
        "",
    ]
    return "\n".join(lines)


def draw(found: dict[tuple[str, int], dict[str, float]], lengths: list[int], path: Path) -> None:
    """Draw time and memory against length, both on logarithms."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    for place, (label, key) in zip(
        figure.subplots(1, 2), (("processor milliseconds a step", "ms"), ("MB added at the peak", "mb")), strict=True
    ):
        for variant, mark, colour in zip(VARIANTS, "os^", ("#0072b2", "#999999", "#d55e00"), strict=True):
            values = [found[variant, length][key] for length in lengths]
            name = f"{variant} (slope {exponent(lengths, values):.2f})"
            place.plot(lengths, values, marker=mark, color=colour, label=name)
        place.set_xscale("log", base=2)
        place.set_yscale("log")
        place.set_xticks(lengths, [f"{length:,}" for length in lengths])
        place.minorticks_off()
        place.set_xlabel("events in a history")
        place.set_ylabel(label)
        place.grid(alpha=0.3)
        place.legend(frameon=False)
    figure.savefig(path, dpi=120)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--longest", type=int, default=LENGTHS[-1])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument(
        "--cell", nargs=2, metavar=("VARIANT", "EVENTS"), help="one measurement, for this script itself"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    main()
