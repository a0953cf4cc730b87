from __future__ import annotations

import copy
import itertools
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from privacy.clipping import UnsupportedLayer, batch_order, check_model, patient_norms, private_gradient
from privacy.layers import gradients as forms
from privacy.noise import ReproducibleNoise
from tests.torch_noise import TorchNoise

SILENT = ReproducibleNoise(0)
ACTIVATIONS = (nn.ReLU, nn.GELU, nn.Tanh, nn.SiLU)


class World:
    """A model, a batch and its loss, made from a seed; the loss is found by example, so parts of the batch work too."""

    def __init__(self, seed, *, notes, depth=2, steps=0, bias=True, frozen=None, activation=nn.ReLU):
        torch.manual_seed(seed)
        widths = [int(torch.randint(1, 9, ())) for _ in range(depth + 1)]
        layers = []
        for into, out in itertools.pairwise(widths):
            layers += [nn.Linear(into, out, bias=bias), activation()]
        self.model = nn.Sequential(*layers[:-1])
        if frozen is not None:
            trainable = list(self.model.parameters())
            trainable[frozen % (len(trainable) - 1)].requires_grad = False
        self.patient = torch.tensor([p for p, n in enumerate(notes) for _ in range(n)])
        self.patient = self.patient[torch.randperm(len(self.patient))]
        B = len(self.patient)
        self.inputs = torch.randn(B, steps, widths[0]) if steps else torch.randn(B, widths[0])
        shape = (B, steps, widths[-1]) if steps else (B, widths[-1])
        self.labels = (torch.rand(shape) < 0.4).float()

    def loss(self, logits, examples=slice(None)):
        wrong = nn.functional.binary_cross_entropy_with_logits(logits, self.labels[examples], reduction="none")
        return wrong.flatten(1).sum(1)

    def parameters(self):
        return [p for p in self.model.parameters() if p.requires_grad]

    def patient_gradients(self):
        """Every patient's gradient by one backward pass each, [P, parameters]."""
        rows = []
        for p in range(int(self.patient.max()) + 1):
            mine = self.patient == p
            total = self.loss(self.model(self.inputs[mine]), mine).sum()
            rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(total, self.parameters())]))
        return torch.stack(rows)

    def step(self, *, patients=None, noise=SILENT, **options):
        """The gradient our step sets, flattened; only of the given patients if any are."""
        chosen = torch.ones_like(self.patient, dtype=torch.bool)
        if patients is not None:
            chosen = torch.isin(self.patient, torch.tensor(patients))
        settings_ = {"clip_norm": 1.0, "patients_expected": 1.0, "noise_multiplier": 0.0} | options
        report = private_gradient(
            self.model,
            self.inputs[chosen],
            lambda logits: self.loss(logits, chosen),
            self.patient[chosen],
            noise=noise,
            **settings_,
        )
        return torch.cat([p.grad.flatten() for p in self.parameters()]), report


def clipped_sum(gradients, clip_norm):
    return ((clip_norm / gradients.norm(dim=1)).clamp(max=1)[:, None] * gradients).sum(0)


worlds = st.builds(
    World,
    st.integers(0, 10_000),
    notes=st.lists(st.integers(1, 6), min_size=1, max_size=8),
    depth=st.integers(1, 4),
    steps=st.sampled_from([0, 0, 1, 3]),
    bias=st.booleans(),
    activation=st.sampled_from(ACTIVATIONS),
)


@settings(max_examples=80, deadline=None)
@given(worlds, st.sampled_from([0.05, 1.0, 100.0]))
def test_the_step_equals_clipping_every_patients_materialised_gradient(world, clip_norm):
    gradients = world.patient_gradients()
    got, report = world.step(clip_norm=clip_norm, patients_expected=4.0)
    want = clipped_sum(gradients, clip_norm) / 4.0
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5 * max(float(want.abs().max()), 1e-2))
    lengths = gradients.norm(dim=1)
    assert report.median_norm == pytest.approx(float(lengths.median()), rel=1e-4)
    assert report.patients == len(lengths)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0, 1, 3]))
def test_an_inplace_activation_is_exact_or_refused_but_never_wrong(seed, steps):
    world = World(seed, notes=[1, 3], steps=steps, activation=lambda: nn.ReLU(inplace=True))
    if steps:  # a Linear's output on [B, T, D] is a view, whose history an inplace layer moves away
        with pytest.raises(UnsupportedLayer, match="inplace"):
            world.step(clip_norm=0.3)
        return
    got, _ = world.step(clip_norm=0.3)
    torch.testing.assert_close(got, clipped_sum(world.patient_gradients(), 0.3), rtol=1e-5, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 20), st.booleans())
def test_frozen_parameters_neither_count_nor_move(seed, frozen, bias):
    world = World(seed, notes=[1, 3, 2, 2], depth=3, bias=bias, frozen=frozen)
    got, _ = world.step(clip_norm=0.3)
    want = clipped_sum(world.patient_gradients(), 0.3)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)
    assert all(p.grad is None for p in world.model.parameters() if not p.requires_grad)


@settings(max_examples=60, deadline=None)
@given(worlds, st.sampled_from([0.01, 0.5, 3.0]))
def test_adding_or_removing_one_patient_moves_the_sum_by_at_most_the_clipping_norm(world, clip_norm):
    everyone = list(range(int(world.patient.max()) + 1))
    full, _ = world.step(clip_norm=clip_norm)
    full = full.clone()
    for absent in everyone:
        rest, _ = world.step(patients=[p for p in everyone if p != absent], clip_norm=clip_norm)
        assert float((full - rest).norm()) <= clip_norm * (1 + 1e-5) + 1e-6


def test_two_notes_that_cancel_are_never_under_clipped():
    world = World(3, notes=[2], depth=1)
    world.inputs = torch.ones_like(world.inputs)
    with torch.no_grad():
        for p in world.model.parameters():
            p.zero_()
    world.labels[0], world.labels[1] = 0.0, 1.0
    exact = world.patient_gradients().norm(dim=1)
    assert torch.all(patient_norms(world.model, world.inputs, world.loss, world.patient) >= exact)


def test_a_patient_with_many_rows_takes_the_materialised_path_and_gives_the_same_norm(monkeypatch):
    world = World(1, notes=[7, 1, 7, 2], depth=2, steps=5)
    want = world.patient_gradients().norm(dim=1)
    torch.testing.assert_close(patient_norms(world.model, world.inputs, world.loss, world.patient), want)
    monkeypatch.setattr(forms, "FLOATS", 1)
    monkeypatch.setattr(forms, "KEPT", 0)  # one patient at a time
    torch.testing.assert_close(patient_norms(world.model, world.inputs, world.loss, world.patient), want)


def test_a_layer_called_twice_is_clipped_as_one_parameter():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x):
            return self.layer(torch.tanh(self.layer(x)))

    world = World(2, notes=[2, 1, 3])
    world.model, world.inputs, world.labels = Twice(), torch.randn(6, 4), torch.zeros(6, 4)
    got, _ = world.step(clip_norm=0.2)
    torch.testing.assert_close(got, clipped_sum(world.patient_gradients(), 0.2), rtol=1e-5, atol=1e-6)


def test_only_outputs_are_differentiated_so_no_weight_gradient_is_computed_twice():
    world = World(5, notes=[1, 2])
    seen = []
    for p in world.parameters():
        p.register_hook(seen.append)
    world.step()
    assert not seen


@pytest.mark.parametrize("multiplier", [0.0, 2.0])
def test_an_empty_batch_releases_noise_alone(multiplier):
    model = nn.Linear(50, 40)
    report = private_gradient(
        model,
        torch.empty(0, 50),
        lambda logits: logits.sum(1),
        torch.empty(0, dtype=torch.int64),
        clip_norm=3.0,
        patients_expected=2.0,
        noise=ReproducibleNoise(1),
        noise_multiplier=multiplier,
    )
    assert (report.examples, report.loss_mean) == (0, 0.0)
    assert float(model.weight.grad.std()) == pytest.approx(multiplier * 3.0 / 2.0, rel=0.1)


def test_noise_replaces_an_old_gradient_and_has_the_promised_scale():
    world = World(4, notes=[1, 1])
    world.model = nn.Linear(100, 100)
    world.inputs, world.labels = torch.randn(2, 100), torch.zeros(2, 100)
    silent, _ = world.step()
    silent = silent.clone()
    noisy, _ = world.step(clip_norm=2.0, noise_multiplier=1.5, patients_expected=10.0, noise=ReproducibleNoise(3))
    assert float((noisy - silent).std()) == pytest.approx(2.0 * 1.5 / 10.0, rel=0.05)


def test_the_order_of_a_batch_does_not_matter_and_the_best_order_copies_nothing():
    world = World(6, notes=[3, 1, 2, 1, 2])
    before, _ = world.step(clip_norm=0.1)
    before = before.clone()
    order = batch_order(world.patient)
    world.patient, world.inputs, world.labels = world.patient[order], world.inputs[order], world.labels[order]
    after, _ = world.step(clip_norm=0.1)
    torch.testing.assert_close(before, after)
    assert all(isinstance(block.index, slice) for block in linear_blocks(world.patient))


def linear_blocks(patient):
    from privacy.layers.uses import Patients

    return Patients(patient).blocks


def test_the_noised_step_equals_opacus_where_each_patient_has_one_note():
    from opacus import GradSampleModule
    from opacus.optimizers import DPOptimizer

    world = World(11, notes=[1] * 9, depth=3)
    theirs = GradSampleModule(copy.deepcopy(world.model))
    optimizer = DPOptimizer(
        torch.optim.SGD(theirs.parameters(), lr=1.0),
        noise_multiplier=0.7,
        max_grad_norm=0.4,
        expected_batch_size=5,
        generator=torch.Generator().manual_seed(9),
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Full backward hook is firing", category=UserWarning)
        world.loss(theirs(world.inputs)).mean().backward()
    optimizer.pre_step()
    want = torch.cat([p.grad.flatten() for p in theirs.parameters()])
    got, _ = world.step(clip_norm=0.4, patients_expected=5.0, noise_multiplier=0.7, noise=TorchNoise(9))
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


class OwnWeights(nn.Module):
    def __init__(self):
        super().__init__()
        self.label = nn.Parameter(torch.zeros(3))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), r"1 \(BatchNorm1d\) mixes the examples"),
        (nn.Sequential(nn.ReLU(), nn.LSTM(2, 2)), r"1 \(LSTM\) cannot be clipped"),
        (nn.ModuleDict({"head": OwnWeights()}), r"head \(OwnWeights\) cannot be clipped"),
        (Tied(), r"second \(Linear\) shares its weight with first\.weight"),
    ],
)
def test_what_cannot_be_clipped_is_refused_by_path_and_type(model, words):
    with pytest.raises(UnsupportedLayer, match=words):
        check_model(model)


def test_frozen_layers_of_any_kind_are_accepted():
    check_model(nn.Sequential(nn.Embedding(3, 2).requires_grad_(False), nn.Flatten(), nn.Dropout(), nn.Linear(2, 2)))


def test_a_layer_that_loses_the_examples_dimension_is_refused():
    world = World(0, notes=[1, 1], depth=1, steps=3)
    world.model = nn.Sequential(nn.Flatten(0, 1), nn.Linear(world.inputs.shape[-1], 2))
    with pytest.raises(UnsupportedLayer, match="keep the examples in the first dimension"):
        world.step()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"clip_norm": 0.0}, "clip_norm"),
        ({"patients_expected": 0.0}, "patients_expected"),
        ({"noise_multiplier": -1.0}, "noise_multiplier"),
        ({"noise_multiplier": float("nan")}, "noise_multiplier"),
    ],
)
def test_numbers_out_of_range_are_named(change, words):
    with pytest.raises(ValueError, match=words):
        World(0, notes=[1, 2]).step(**change)


def test_a_gradient_that_is_not_finite_stops_the_step_before_anything_is_set():
    world = World(0, notes=[1, 2], depth=1)
    world.inputs[0, 0] = float("nan")
    with pytest.raises(ValueError, match="1 patients are not finite"):
        world.step()
    assert all(p.grad is None for p in world.parameters())


def test_a_loss_that_is_not_one_number_an_example_is_refused():
    world = World(0, notes=[1, 2])
    with pytest.raises(ValueError, match=r"must return \[3\]"):
        patient_norms(world.model, world.inputs, lambda logits: logits.mean(), world.patient)
    with pytest.raises(ValueError, match="patient must be int64"):
        patient_norms(world.model, world.inputs, world.loss, world.patient[:2])
