"""A private training step against the plain one and against Opacus, interleaved in one process.

    python benchmarks/dp_step.py [--codes 1000 8000] [--notes 1024] [--repetitions 15] [--threads 2] [--quick]

Every step includes its optimizer (Adam) and, where private, its noise; notes belong to patients with 2.3 notes each on
average. Rows differ in what they protect: `plain` nothing, `per note` one note, `per patient` all notes of a patient.
Ratios are medians over repetitions of the step's time over the plain step of the *same* repetition: by the clock with
quartiles, and by processor time, which other programs on the machine disturb less.
Memory is the peak resident set of a fresh process above its size before the first step.

Opacus clips per example. To clip per patient it is given padded patients: [patients, most notes, features] with a mask
in the loss. What needs more memory than `--memory-limit` is not run and is said so.
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from timing import COLUMNS, measure, ratio_cells
from torch import Tensor, nn

from privacy.clipping import batch_order, private_gradient
from privacy.noise import SecureNoise

if TYPE_CHECKING:
    from collections.abc import Callable

    from timing import Pair, Step

FEATURES, HIDDEN, CLIP_NORM, NOISE = 384, 512, 1.0, 1.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Notes in the order of their patients."""

    inputs: Tensor
    labels: Tensor
    patient: Tensor

    @property
    def patients(self) -> int:
        """How many patients own the notes."""
        return int(self.patient.max()) + 1

    def ordered(self) -> Batch:
        """The same notes in the order that clipping copies nothing."""
        order = batch_order(self.patient)
        return Batch(self.inputs[order], self.labels[order], self.patient[order])

    def padded(self) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs [P, n, D], labels [P, n, K] and mask [P, n, 1] with n the most notes of a patient."""
        sizes = torch.bincount(self.patient)
        shape = (self.patients, int(sizes.max()))
        place = torch.cat([torch.arange(n) for n in sizes])
        inputs, labels = torch.zeros(*shape, FEATURES), torch.zeros(*shape, self.labels.shape[1])
        mask = torch.zeros(*shape, 1)
        inputs[self.patient, place], labels[self.patient, place], mask[self.patient, place] = (
            self.inputs,
            self.labels,
            1.0,
        )
        return inputs, labels, mask


def make_batch(notes: int, codes: int) -> Batch:
    rng = np.random.default_rng(0)
    sizes = 1 + rng.poisson(1.3, notes)
    owners = np.repeat(np.arange(notes), sizes)[:notes]
    torch.manual_seed(0)
    return Batch(torch.randn(notes, FEATURES), (torch.rand(notes, codes) < 0.02).float(), torch.from_numpy(owners))


def make_head(codes: int) -> tuple[nn.Sequential, torch.optim.Adam]:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, codes))
    return model, torch.optim.Adam(model.parameters())


def code_losses(logits: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")


def plain(batch: Batch, codes: int) -> Step:
    model, optimizer = make_head(codes)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(model(batch.inputs), batch.labels).backward()
        optimizer.step()

    return step


def ours(batch: Batch, codes: int) -> Step:
    model, optimizer = make_head(codes)
    noise = SecureNoise()

    def step() -> None:
        private_gradient(
            model,
            batch.inputs,
            lambda logits: code_losses(logits, batch.labels).sum(1),
            batch.patient,
            clip_norm=CLIP_NORM,
            patients_expected=float(batch.patients),
            noise=noise,
            noise_multiplier=NOISE,
        )
        optimizer.step()

    return step


def ours_ordered(batch: Batch, codes: int) -> Step:
    return ours(batch.ordered(), codes)


def ours_per_note(batch: Batch, codes: int) -> Step:
    return ours(Batch(batch.inputs, batch.labels, torch.arange(len(batch.inputs))), codes)


def opacus_hooks(batch: Batch, codes: int) -> Step:
    from opacus import GradSampleModule
    from opacus.optimizers import DPOptimizer

    model, adam = make_head(codes)
    wrapped = GradSampleModule(model)
    optimizer = DPOptimizer(
        adam, noise_multiplier=NOISE, max_grad_norm=CLIP_NORM, expected_batch_size=len(batch.inputs)
    )

    def step() -> None:
        optimizer.zero_grad()
        code_losses(wrapped(batch.inputs), batch.labels).sum(1).mean().backward()
        optimizer.step()

    return step


def _ghost(codes: int, inputs: Tensor, loss: Callable[[Tensor], Tensor]) -> Step:
    """Opacus' two backward passes, called directly: its loss wrapper cannot sum over labels or apply a mask."""
    from opacus.grad_sample import GradSampleModuleFastGradientClipping
    from opacus.optimizers import DPOptimizerFastGradientClipping
    from opacus.utils.fast_gradient_clipping_utils import DPTensorFastGradientClipping

    model, adam = make_head(codes)
    wrapped = GradSampleModuleFastGradientClipping(model, max_grad_norm=CLIP_NORM, use_ghost_clipping=True)
    optimizer = DPOptimizerFastGradientClipping(
        adam, noise_multiplier=NOISE, max_grad_norm=CLIP_NORM, expected_batch_size=len(inputs)
    )

    def step() -> None:
        optimizer.zero_grad()
        DPTensorFastGradientClipping(wrapped, optimizer, loss(wrapped(inputs))).backward()
        optimizer.step()

    return step


def opacus_ghost(batch: Batch, codes: int) -> Step:
    return _ghost(codes, batch.inputs, lambda logits: code_losses(logits, batch.labels).sum(1))


def opacus_ghost_padded(batch: Batch, codes: int) -> Step:
    inputs, labels, mask = batch.padded()
    return _ghost(codes, inputs, lambda logits: (code_losses(logits, labels) * mask).sum((1, 2)))


VARIANTS: dict[str, Callable[[Batch, int], Step]] = {
    "plain": plain,
    "ours, per patient": ours_ordered,
    "ours, per patient, unordered batch": ours,
    "ours, per note": ours_per_note,
    "Opacus ghost, per note": opacus_ghost,
    "Opacus ghost, per patient (padded)": opacus_ghost_padded,
    "Opacus hooks, per note": opacus_hooks,
}


def cannot_run(name: str, *, notes: int, codes: int, limit: float) -> str:
    """Why a variant is left out; empty where it can run."""
    needed = notes * (FEATURES * HIDDEN + HIDDEN * codes) * 4 / 2**30
    if "hooks" in name and needed > limit:
        return f"not run: needs {needed:.1f} GiB of per-example gradients"
    return ""


def peak_memory(name: str, *, notes: int, codes: int, threads: int) -> float:
    """MiB above the size before the first step, in a fresh process."""
    arguments = ["--memory-of", name, "--codes", str(codes), "--notes", str(notes), "--threads", str(threads)]
    output = subprocess.run(
        [sys.executable, __file__, *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    return float(output.stdout.split()[-1])


def resident(field: str) -> float:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


def print_own_peak(name: str, *, notes: int, codes: int) -> None:
    step = VARIANTS[name](make_batch(notes, codes), codes)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts from here
    before = resident("VmRSS")
    for _ in range(3):
        step()
    print(resident("VmHWM") - before)


def compare(codes: int, options: argparse.Namespace) -> Table:
    batch = make_batch(options.notes, codes)
    limits = {name: cannot_run(name, notes=options.notes, codes=codes, limit=options.memory_limit) for name in VARIANTS}
    steps = {name: make(batch, codes) for name, make in VARIANTS.items() if not limits[name]}
    times = measure(steps, options.repetitions)
    memory = {
        name: peak_memory(name, notes=options.notes, codes=codes, threads=options.threads)
        for name in ([] if options.quick else steps)
    }
    left_out = "\n".join(f"{name}: {reason}" for name, reason in limits.items() if reason)
    title = f"{FEATURES}-{HIDDEN}-{codes} head, {options.notes} notes of {batch.patients} patients"
    table = Table(title=title, caption=left_out or None)
    for column in (*COLUMNS, "MiB", "x plain"):
        table.add_column(column, justify="left" if column == "step" else "right")
    for name in steps:
        table.add_row(name, *row(name, times, memory))
    return table


def row(name: str, times: dict[str, list[Pair]], memory: dict[str, float]) -> list[str]:
    cells = ratio_cells(times[name])
    return [*cells, f"{memory[name]:.0f}", f"{memory[name] / memory['plain']:.2f}"] if memory else cells


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codes", type=int, nargs="+", default=[1000, 8000])
    parser.add_argument("--notes", type=int, default=1024)
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory-limit", type=float, default=6.0, help="GiB a variant may need")
    parser.add_argument("--quick", action="store_true", help="K=1000 only, no memory")
    parser.add_argument("--memory-of", choices=list(VARIANTS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.codes = [1000]
    return options


def main() -> None:
    options = parse_options()
    torch.set_num_threads(options.threads)
    # Opacus' hooks meet a first layer whose input needs no gradient; that is what they are for
    warnings.filterwarnings("ignore", message="Full backward hook is firing", category=UserWarning)
    if options.memory_of:
        print_own_peak(options.memory_of, notes=options.notes, codes=options.codes[0])
        return
    console = Console(width=110)
    console.print(
        f"torch {torch.__version__}, {options.threads} threads, {options.repetitions} interleaved repetitions"
    )
    for codes in options.codes:
        console.print(compare(codes, options))


if __name__ == "__main__":
    main()
