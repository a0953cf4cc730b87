"""Every model of the table: shapes, causality, exact clipping, and a state that travels."""

import numpy as np
import pytest
import torch

from clinical.learning import Questions
from clinical.losses import build_outcome_loss
from clinical.models import MODELS, build_model
from clinical.models.scan import scan
from privacy.clipping import check_model, patient_norms, private_gradient
from privacy.noise import ReproducibleNoise

SEQUENCES = [name for name, entry in MODELS.items() if entry.reads == "sequences"]


def model_of(name, *, features=7, seed=0):
    return build_model(name, features=features, codes=1, dropout=0.0, seed=seed)


@pytest.mark.parametrize("name", SEQUENCES)
def test_an_hour_is_answered_from_the_hours_up_to_it(name):
    model, generator = model_of(name).eval(), torch.Generator().manual_seed(1)
    x = torch.randn(3, 40, 7, generator=generator)
    changed = x.clone()
    changed[:, 20:] = torch.randn(3, 20, 7, generator=generator)
    with torch.no_grad():
        before, after = model(x), model(changed)
    assert before.shape == (3, 40, 1)
    torch.testing.assert_close(before[:, :20], after[:, :20], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(before[:, 20:], after[:, 20:])


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_longer_sequence_gives_the_same_first_hours(name):
    model = model_of(name).eval()
    x = torch.randn(2, 30, 7, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(model(x)[:, :11], model(x[:, :11]), atol=1e-5, rtol=1e-5)


def one_step_after_another(step, rate, drive, put, read):
    """The recurrence of a state space model as its definition says it."""
    state, seen = torch.zeros_like(rate), []
    for t in range(step.shape[1]):
        state = torch.exp(step[:, t, :, None] * rate) * state + drive[:, t, :, None] * put[:, t, None]
        seen.append((state * read[:, t, None]).sum(2))
    return torch.stack(seen, dim=1)


def terms(shape, *, dtype=torch.float32):
    B, T, D, S = shape
    generator = torch.Generator().manual_seed(B * T)
    step, rate, drive, put, read = (
        torch.randn(*size, generator=generator, dtype=dtype)
        for size in ((B, T, D), (B, D, S), (B, T, D), (B, T, S), (B, T, S))
    )
    return [each.requires_grad_() for each in (torch.nn.functional.softplus(step - 3), -rate.exp(), drive, put, read)]


@pytest.mark.parametrize("shape", [(1, 1, 128, 8), (2, 130, 16, 4), (1, 700, 128, 8), (33, 40, 128, 8)])
def test_the_scan_is_the_recurrence_one_step_after_another_and_so_is_its_gradient(shape):
    inputs = terms(shape)
    scanned, stepped = scan(*inputs), one_step_after_another(*inputs)
    assert relative_error(scanned, stepped) < 1e-5
    weight = torch.randn(scanned.shape, generator=torch.Generator().manual_seed(0))
    gradients = (torch.autograd.grad((each * weight).sum(), inputs) for each in (scanned, stepped))
    for mine, theirs in zip(*gradients, strict=True):
        assert relative_error(mine, theirs) < 1e-5


def relative_error(mine, theirs):
    return float((mine - theirs).detach().abs().max() / theirs.detach().abs().max().clamp(min=1e-6))


def test_a_scan_over_nobody_is_empty():
    assert scan(*terms((0, 5, 16, 4))).shape == (0, 5, 16)


def test_the_gradient_of_the_scan_is_that_of_its_finite_differences():
    assert torch.autograd.gradcheck(scan, terms((2, 11, 3, 2), dtype=torch.float64))


def questions(name, rng):
    """Five patients with eight stays; some hours are not asked about."""
    patient = np.array([0, 0, 1, 2, 2, 2, 3, 4])
    if MODELS[name].reads == "rows":
        return Questions(rng.normal(size=(8, 7)), rng.integers(2, size=8).astype(float), patient, rng.random(8))
    labels = np.where(rng.random((8, 6)) < 0.5, np.nan, rng.integers(2, size=(8, 6)))
    labels[:, 3] = 1.0
    return Questions(rng.normal(size=(8, 6, 7)), labels, patient)


@pytest.mark.parametrize("name", MODELS)
def test_the_clipped_sum_is_that_of_each_patient_by_themselves(name):
    model, examples = model_of(name), questions(name, np.random.default_rng(3))
    check_model(model)
    loss = build_outcome_loss("bce")
    batch = examples.batch(np.arange(examples.patients))
    norms = patient_norms(model, batch.features, lambda out: batch.losses(loss, out), batch.patient)
    clip = float(norms.median())
    private_gradient(
        model,
        batch.features,
        lambda out: batch.losses(loss, out),
        batch.patient,
        clip_norm=clip,
        patients_expected=1.0,
        noise=ReproducibleNoise("models"),
        noise_multiplier=0.0,
    )
    ours = [parameter.grad.clone() for parameter in model.parameters()]
    expected = [torch.zeros_like(parameter) for parameter in model.parameters()]
    for patient in range(examples.patients):
        own = examples.batch(np.array([patient]))
        model.zero_grad()
        own.losses(loss, model(own.features)).sum().backward()
        own_norm = torch.sqrt(sum((parameter.grad**2).sum() for parameter in model.parameters()))
        assert float(own_norm) == pytest.approx(float(norms[patient]), rel=1e-3)
        for total, parameter in zip(expected, model.parameters(), strict=True):
            total.add_(parameter.grad, alpha=min(1.0, clip / float(own_norm)))
    for mine, theirs in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=2e-5, rtol=2e-3)


@pytest.mark.parametrize("name", MODELS)
def test_a_hollow_model_takes_the_weights_of_a_built_one(name):
    built, hollow = model_of(name, seed=4), model_of(name, seed=None)
    hollow.load_state_dict(built.state_dict(), assign=True)
    x = torch.randn(2, 7) if MODELS[name].reads == "rows" else torch.randn(2, 5, 7)
    with torch.no_grad():
        torch.testing.assert_close(hollow.eval()(x), built.eval()(x))


def test_a_batch_ends_with_the_last_thing_asked_of_any_of_its_patients():
    labels = np.full((3, 10), np.nan)
    labels[0, 2], labels[1, 7], labels[2, 4] = 1, 0, 1
    examples = Questions(np.zeros((3, 10, 2)), labels, np.array([5, 6, 7]))
    assert examples.batch(np.array([0, 2])).features.shape == (2, 5, 2)
    assert examples.batch(np.array([1])).labels.shape == (1, 8, 1)
    assert examples.batch(np.array([], dtype=np.int64)).features.shape[0] == 0


def test_a_loss_over_hours_averages_what_is_asked():
    loss = build_outcome_loss("mae")
    labels = torch.tensor([[[1.0], [float("nan")], [3.0]], [[float("nan")]] * 3])
    assert loss(torch.zeros(2, 3, 1), labels).tolist() == [2.0, 0.0]
