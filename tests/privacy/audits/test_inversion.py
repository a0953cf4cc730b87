"""Gradient inversion on real gradients of a small head: exact with one example, useless under noise."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from privacy.audits.inversion import Search, infer_labels, invert_linear, match_gradients, score_recovery
from privacy.clipping import private_gradient
from privacy.noise import ReproducibleNoise

FEATURES, HIDDEN, CODES = 12, 24, 6


@pytest.fixture
def head():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, CODES))


def loss(logits, labels):
    return binary_cross_entropy_with_logits(logits, labels, reduction="none").sum(dim=1)


def gradient_of(head):
    parameters = list(head.parameters())
    return lambda inputs, labels: torch.autograd.grad(loss(head(inputs), labels).mean(), parameters, create_graph=True)


def patients(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, FEATURES, generator=generator) + 1.0  # embeddings of patients resemble one another
    return inputs, (torch.rand(count, CODES, generator=generator) < 0.3).float()


def captured(head, inputs, labels, **private):
    """One update's gradients as arrays, as they leave a hospital."""
    settings = {"clip_norm": 1.0, "noise_multiplier": 0.0, "seed": 0} | private
    private_gradient(
        head,
        inputs,
        lambda logits: loss(logits, labels),
        torch.arange(len(inputs)),
        clip_norm=settings["clip_norm"],
        patients_expected=float(len(inputs)),
        noise=ReproducibleNoise(settings["seed"]),
        noise_multiplier=settings["noise_multiplier"],
    )
    return [parameter.grad.detach().clone() for parameter in head.parameters()]


def one_by_one(head, **private):
    """Forty updates of one patient each: truth, candidates and guesses of who sees no gradient."""
    inputs, labels = patients(40)
    others = patients(HIDDEN, seed=9)[0].numpy()
    offered = []
    for number in range(len(inputs)):
        one = slice(number, number + 1)
        weight, bias, *_ = captured(head, inputs[one], labels[one], **private | {"seed": number})
        offered.append(invert_linear(weight.numpy(), bias.numpy()))
    fewest = min(map(len, offered))
    return score_recovery(inputs.numpy(), np.stack([each[:fewest] for each in offered]), others)


@pytest.mark.parametrize("private", [{"clip_norm": 1e6}, {"clip_norm": 0.1}])
def test_one_patients_input_is_read_off_an_update_exactly_and_clipping_alone_does_not_help(head, private):
    found = one_by_one(head, **private)
    assert found.recovered.value == 1.0
    assert found.recovered.verdict == "fail"
    assert found.recovered.baseline == 0.0
    assert found.cosine.value == pytest.approx(1.0, abs=1e-5)
    assert found.cosine.baseline < 0.95


def test_noise_leaves_no_more_than_a_guess_without_the_update(head):
    found = one_by_one(head, noise_multiplier=1.0)
    assert found.recovered.value == 0.0
    assert found.recovered.verdict == "pass"
    assert found.cosine.value < found.cosine.baseline


def test_the_length_comes_back_too_and_so_do_the_labels_of_one_patient(head):
    inputs, labels = patients(1, seed=3)
    weight, bias, _, last = captured(head, inputs, labels, clip_norm=1e6)
    np.testing.assert_allclose(invert_linear(weight.numpy(), bias.numpy())[0], inputs[0].numpy(), rtol=1e-3)
    assert infer_labels(last.numpy()).tolist() == labels.tolist()


def test_several_patients_are_found_by_matching_where_rows_are_mixtures(head):
    inputs, labels = patients(2, seed=4)
    observed = captured(head, inputs, labels, clip_norm=1e6)
    found = match_gradients(
        gradient_of(head),
        observed,
        start=torch.ones(2, FEATURES),
        labels=torch.full((2, CODES), 0.3),
        generator=np.random.default_rng(0),
        search=Search(steps=400, restarts=3),
    )
    scored = score_recovery(inputs.numpy(), found, patients(2, seed=9)[0].numpy(), tolerance=0.1)
    assert scored.cosine.value > 0.9 > scored.cosine.baseline


def test_a_sum_over_many_hospitals_hides_each_and_the_verdict_says_so(head):
    inputs, labels = patients(64, seed=5)
    parts = [captured(head, inputs[k : k + 8], labels[k : k + 8], clip_norm=1e6) for k in range(0, 64, 8)]
    weight, bias = (sum(part[k] for part in parts).numpy() for k in (0, 1))
    candidates = invert_linear(weight, bias)
    alone = invert_linear(*(gradient.numpy() for gradient in captured(head, inputs[:1], labels[:1])[:2]))
    others = patients(len(candidates), seed=9)[0].numpy()
    together = score_recovery(inputs.numpy(), candidates, others)
    assert together.recovered.value < 0.1
    assert together.recovered.verdict == "pass"
    assert score_recovery(inputs[:1].numpy(), alone, others).recovered.value == 1.0


def test_a_single_input_proves_nothing(head):
    inputs, _ = patients(1)
    found = score_recovery(inputs.numpy(), inputs.numpy(), -inputs.numpy())
    assert (found.recovered.value, found.recovered.verdict) == (1.0, "inconclusive")


def test_gradients_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="has gradients"):
        invert_linear(np.zeros((3, 2)), np.zeros(2))
