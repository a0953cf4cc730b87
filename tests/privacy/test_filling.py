"""Noise made beside the pass is the noise that would have been made after it."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

from privacy import filling
from privacy.clipping import UnsupportedLayer, private_gradient
from privacy.filling import NoiseFill
from privacy.noise import ReproducibleNoise


def head() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 900))  # 124,420 parameters


def step(model: nn.Module, *, noise, inputs=None):
    inputs = torch.ones(6, 64) if inputs is None else inputs
    return private_gradient(
        model,
        inputs,
        lambda logits: logits.square().sum(1),
        torch.tensor([0, 0, 1, 2, 2, 2]),
        clip_norm=1.0,
        patients_expected=3.0,
        noise=noise,
        noise_multiplier=1.5,
    )


def gradients(model):
    return [parameter.grad.clone() for parameter in model.parameters()]


def test_a_step_with_noise_made_aside_is_the_step_with_noise_made_in_place(monkeypatch):
    aside, inline = head(), head()
    assert sum(parameter.numel() for parameter in aside.parameters()) >= filling.WORTH_A_THREAD
    first, second = ReproducibleNoise(3), ReproducibleNoise(3)
    for _ in range(3):
        step(aside, noise=first)
    monkeypatch.setattr(filling, "WORTH_A_THREAD", 10**9)
    for _ in range(3):
        step(inline, noise=second)
    assert all(torch.equal(a, b) for a, b in zip(gradients(aside), gradients(inline), strict=True))
    assert first.uniform(4).tolist() == second.uniform(4).tolist()  # as much of the stream was used


class Broken(ReproducibleNoise):
    def normal_(self, tensor, *, std):
        raise RuntimeError("no randomness left")


def test_noise_that_cannot_be_made_ends_the_step_and_leaves_no_gradient():
    model = head()
    with pytest.raises(RuntimeError, match="no randomness left"):
        step(model, noise=Broken(0))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_step_that_fails_leaves_neither_noise_nor_a_thread_behind():
    model = head()
    with pytest.raises(ValueError, match="not finite"):
        step(model, noise=ReproducibleNoise(0), inputs=torch.full((6, 64), torch.inf))
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not [thread for thread in threading.enumerate() if thread.name == "wardround noise"]


def test_a_layer_that_is_refused_during_the_pass_leaves_no_noise_as_a_gradient():
    class Reused(nn.Module):
        def __init__(self):
            super().__init__()
            self.map = nn.Linear(400, 400)

        def forward(self, x):
            return self.map(x) @ self.map.weight

    model = Reused()
    with pytest.raises(UnsupportedLayer, match="outside its layer"):
        step(model, noise=ReproducibleNoise(0), inputs=torch.ones(6, 400))
    assert model.map.weight.grad is None


def test_small_models_and_steps_without_noise_start_no_thread():
    assert NoiseFill(nn.Linear(4, 4), ReproducibleNoise(0), std=1.0)._thread is None
    assert NoiseFill(head(), ReproducibleNoise(0), std=0.0)._thread is None
    fill = NoiseFill(head(), ReproducibleNoise(0), std=1.0)
    assert fill._thread is not None
    fill.wait()
    fill.wait()
