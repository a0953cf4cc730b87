"""A private training step of sequence models against the plain one and against Opacus, interleaved in one process.

    python benchmarks/dp_layers.py [--models gru ...] [--patients 256] [--repetitions 15] [--threads 2] [--quick]

The plain step trains the same module, so the GRU is torch's native one. Every step includes its optimizer (Adam) and,
where private, its noise; every patient has one sequence of 48 hours by 60 features, or 12 chunks of a note. Ratios are
medians over repetitions of the step's time over the plain step of the *same* repetition: by the clock with quartiles,
and by processor time, which other programs on the machine disturb less.

All of them run with an allocator that keeps freed memory (`timing.keep_freed_memory`); `--default-allocator` leaves it
as it comes, which costs every variant, and those that hold more the most.

Opacus gets the module as its own `ModuleValidator.fix` rewrites it. Where it fails, its error stands under the table.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from rich.console import Console
from rich.table import Table
from timing import COLUMNS, keep_freed_memory, measure, ratio_cells
from torch import Tensor, nn
from torch.nn import functional

from privacy.clipping import patient_norms, private_gradient
from privacy.noise import SecureNoise

if TYPE_CHECKING:
    from collections.abc import Callable

    from timing import Step

HOURS, FEATURES, WIDTH, TARGETS, CLIP_NORM, NOISE = 48, 60, 64, 25, 1.0, 1.0
CHUNKS, EMBEDDING, CODES = 12, 384, 1000


class LabelAttention(nn.Module):
    """Each code attends to the chunks of a note: [B, 12, 384] to [B, 1000]."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.label = nn.Linear(EMBEDDING, CODES), nn.Linear(EMBEDDING, CODES)

    def forward(self, x: Tensor) -> Tensor:
        return (functional.softmax(self.query(x), dim=1) * self.label(x)).sum(1)


class Transformer(nn.Module):
    """Two of torch's own encoder layers, mean over time."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.into, self.head = nn.Linear(FEATURES, width), nn.Linear(width, TARGETS)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.into(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean(1))


class Convolutional(nn.Module):
    """Four residual blocks of two causal convolutions each, dilated 1, 2, 4 and 8, read at the last hour."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.into, self.head = nn.Conv1d(FEATURES, width, 1), nn.Linear(width, TARGETS)
        self.layers = nn.ModuleList(nn.Conv1d(width, width, 3, dilation=2 ** (i // 2)) for i in range(8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.into(x.transpose(1, 2))
        for first, second in zip(self.layers[::2], self.layers[1::2], strict=True):
            y = functional.relu(self.causal(first, x))
            x = x + functional.relu(self.causal(second, y))
        return self.head(x[:, :, -1])

    @staticmethod
    def causal(layer: nn.Conv1d, x: Tensor) -> Tensor:
        return layer(functional.pad(x, (2 * layer.dilation[0], 0)))


class SelectiveStateSpace(nn.Module):
    """A selective state space block; its own parameters are embeddings of one row, looked up for each patient."""

    def __init__(self, inner: int = 2 * WIDTH, states: int = 8) -> None:
        super().__init__()
        self.states = states
        self.norm, self.into = nn.RMSNorm(WIDTH), nn.Linear(WIDTH, 2 * inner)
        self.convolution = nn.Conv1d(inner, inner, 4, groups=inner, padding=3)
        self.selection, self.step = nn.Linear(inner, 4 + 2 * states), nn.Linear(4, inner)
        self.decay, self.skip = nn.Embedding(1, inner * states), nn.Embedding(1, inner)
        self.out = nn.Linear(inner, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        one = torch.zeros(len(x), dtype=torch.int64)
        u, gate = self.into(self.norm(x)).chunk(2, dim=2)
        u = functional.silu(self.convolution(u.transpose(1, 2))[:, :, : x.shape[1]].transpose(1, 2))
        step, b, c = self.selection(u).split([4, self.states, self.states], dim=2)
        step = functional.softplus(self.step(step))
        a = -torch.exp(self.decay(one)).view(len(x), 1, -1, self.states)
        kept, put = torch.exp(step[..., None] * a), (step * u)[..., None] * b[:, :, None]
        state, seen = torch.zeros_like(put[:, 0]), []
        for k, p, read in zip(kept.unbind(1), put.unbind(1), c.unbind(1), strict=True):
            state = torch.addcmul(p, k, state)
            seen.append((state @ read[:, :, None]).squeeze(2))
        y = torch.stack(seen, dim=1) + self.skip(one)[:, None] * u
        return x + self.out(y * functional.silu(gate))


class StateSpace(nn.Module):
    """Two selective blocks, mean over time."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.head = nn.Linear(FEATURES, WIDTH), nn.Linear(WIDTH, TARGETS)
        self.layers = nn.Sequential(SelectiveStateSpace(), SelectiveStateSpace())

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(self.into(x)).mean(1))


class Recurrent(nn.Module):
    """Torch's GRU, read at the last hour."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(FEATURES, hidden, batch_first=True), nn.Linear(hidden, TARGETS)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.gru(x)[0][:, -1])


@dataclass(frozen=True, slots=True)
class Case:
    """A model and the shapes of an example and its targets."""

    model: Callable[[], nn.Module]
    example: tuple[int, int] = (HOURS, FEATURES)
    targets: int = TARGETS

    def batch(self, patients: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets, one sequence a patient."""
        torch.manual_seed(0)
        return torch.randn(patients, *self.example), (torch.rand(patients, self.targets) < 0.1).float()

    def build(self) -> tuple[nn.Module, torch.optim.Adam]:
        """The model, always with the same weights, and its optimizer."""
        torch.manual_seed(1)
        model = self.model()
        return model, torch.optim.Adam(model.parameters())


CASES = {
    "label-attention": Case(LabelAttention, (CHUNKS, EMBEDDING), CODES),
    "transformer-64": Case(lambda: Transformer(64)),
    "transformer-128": Case(lambda: Transformer(128)),
    "tcn-64": Case(lambda: Convolutional(64)),
    "tcn-128": Case(lambda: Convolutional(128)),
    "ssm": Case(StateSpace),
    "gru-64": Case(lambda: Recurrent(64)),
    "gru-128": Case(lambda: Recurrent(128)),
}


def losses(logits: Tensor, targets: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(1)


def plain(case: Case, patients: int) -> Step:
    model, optimizer = case.build()
    inputs, targets = case.batch(patients)

    def step() -> None:
        optimizer.zero_grad()
        losses(model(inputs), targets).mean().backward()
        optimizer.step()

    return step


def ours(case: Case, patients: int) -> Step:
    model, optimizer = case.build()
    inputs, targets = case.batch(patients)
    noise, patient = SecureNoise(), torch.arange(patients)

    def step() -> None:
        private_gradient(
            model,
            inputs,
            lambda logits: losses(logits, targets),
            patient,
            clip_norm=CLIP_NORM,
            patients_expected=float(patients),
            noise=noise,
            noise_multiplier=NOISE,
        )
        optimizer.step()

    return step


def opacus_hooks(case: Case, patients: int) -> Step:
    from opacus import GradSampleModule
    from opacus.optimizers import DPOptimizer
    from opacus.validators import ModuleValidator

    wrapped = GradSampleModule(ModuleValidator.fix(case.build()[0]))
    optimizer = DPOptimizer(
        torch.optim.Adam(wrapped.parameters()),
        noise_multiplier=NOISE,
        max_grad_norm=CLIP_NORM,
        expected_batch_size=patients,
    )
    inputs, targets = case.batch(patients)

    def step() -> None:
        optimizer.zero_grad()
        losses(wrapped(inputs), targets).mean().backward()
        optimizer.step()

    return step


def opacus_ghost(case: Case, patients: int) -> Step:
    from opacus.grad_sample import GradSampleModuleFastGradientClipping
    from opacus.optimizers import DPOptimizerFastGradientClipping
    from opacus.utils.fast_gradient_clipping_utils import DPTensorFastGradientClipping
    from opacus.validators import ModuleValidator

    wrapped = GradSampleModuleFastGradientClipping(
        ModuleValidator.fix(case.build()[0]), max_grad_norm=CLIP_NORM, use_ghost_clipping=True
    )
    optimizer = DPOptimizerFastGradientClipping(
        torch.optim.Adam(wrapped.parameters()),
        noise_multiplier=NOISE,
        max_grad_norm=CLIP_NORM,
        expected_batch_size=patients,
    )
    inputs, targets = case.batch(patients)

    def step() -> None:
        optimizer.zero_grad()
        DPTensorFastGradientClipping(wrapped, optimizer, losses(wrapped(inputs), targets)).backward()
        optimizer.step()

    return step


VARIANTS: dict[str, Callable[[Case, int], Step]] = {
    "plain": plain,
    "ours, per patient": ours,
    "Opacus ghost": opacus_ghost,
    "Opacus hooks": opacus_hooks,
}


def running(case: Case, options: argparse.Namespace) -> tuple[dict[str, Step], dict[str, str]]:
    """The steps that run, and why the others do not."""
    steps: dict[str, Step] = {}
    reasons: dict[str, str] = {}
    size = sum(p.numel() for p in case.build()[0].parameters()) * options.patients * 4 / 2**30
    for name, make in VARIANTS.items():
        if "Opacus" in name and options.without_peers:
            continue
        if "hooks" in name and size > options.memory_limit:
            reasons[name] = f"needs {size:.1f} GiB of per-example gradients"
            continue
        try:
            step = make(case, options.patients)
            step()
        except Exception as error:
            if "Opacus" not in name:
                raise
            reasons[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:90]}"
        else:
            steps[name] = step
    return steps, reasons


def difference(case: Case) -> float:
    """Largest relative error of four patients' norms against a backward pass for each."""
    model, _ = case.build()
    inputs, targets = case.batch(4)
    got = patient_norms(model, inputs, lambda logits: losses(logits, targets), torch.arange(4))
    exact = []
    for i in range(4):
        found = torch.autograd.grad(
            losses(model(inputs[i : i + 1]), targets[i : i + 1]).sum(), list(model.parameters())
        )
        exact.append(torch.cat([g.flatten() for g in found]).double().norm())
    return float((got / torch.stack(exact) - 1).abs().max())


def compare(name: str, options: argparse.Namespace) -> Table:
    case = CASES[name]
    error = difference(case)
    steps, reasons = running(case, options)
    times = measure(steps, options.repetitions)
    shape = " x ".join(map(str, case.example))
    left_out = "".join(f"\n{variant} does not run: {reason}" for variant, reason in reasons.items())
    table = Table(
        title=f"{name}, {options.patients} patients, {shape}", caption=f"relative error of a norm {error:.1e}{left_out}"
    )
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "step" else "right")
    for variant in steps:
        table.add_row(variant, *ratio_cells(times[variant]))
    return table


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--patients", type=int, default=256)
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory-limit", type=float, default=3.0, help="GiB of per-example gradients a peer may build")
    parser.add_argument("--default-allocator", action="store_true", help="let freed memory go back to the kernel")
    parser.add_argument("--without-peers", action="store_true", help="plain and ours only")
    parser.add_argument("--quick", action="store_true", help="five repetitions")
    options = parser.parse_args()
    if options.quick:
        options.repetitions = 5
    return options


def main() -> None:
    options = parse_options()
    torch.set_num_threads(options.threads)
    if not options.default_allocator:
        keep_freed_memory()
    # Opacus' hooks meet a first layer whose input needs no gradient; that is what they are for
    warnings.filterwarnings("ignore", message="Full backward hook is firing", category=UserWarning)
    console = Console(width=110)
    console.print(
        f"torch {torch.__version__}, {options.threads} threads, {options.repetitions} interleaved repetitions"
    )
    for name in options.models:
        console.print(compare(name, options))


if __name__ == "__main__":
    main()
