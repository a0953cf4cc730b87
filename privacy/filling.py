"""Noise made while the forward and backward pass run: it depends on neither, and neither writes where it goes.

A private step's noise is as many numbers as the model has parameters, and making them takes one processor a tenth of a
plain step. The pass that clips never computes a parameter's gradient (`privacy.recording`), so the gradients can be
filled meanwhile. The numbers and their order are those of filling them afterwards.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from privacy.noise import NoiseSource

WORTH_A_THREAD = 100_000  # parameters; fewer are filled sooner than a thread starts


class NoiseFill:
    """Overwrites every trainable parameter's `grad` with noise, in a thread of its own where that is worth one.

    Args:
        model: its parameters' `grad` must not be touched before `wait` returns.
        noise: must not be asked for anything else before `wait` returns.
        std: standard deviation of the noise.
    """

    def __init__(self, model: nn.Module, noise: NoiseSource, *, std: float) -> None:
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._gradients = [_gradient(parameter) for parameter in self._parameters]
        self._noise, self._std = noise, std
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        if std > 0 and sum(gradient.numel() for gradient in self._gradients) >= WORTH_A_THREAD:
            self._thread = threading.Thread(target=self._fill_aside, name="wardround noise")
            self._thread.start()
        else:
            self._fill()

    def wait(self) -> None:
        """Returns when all noise is in place; raises what went wrong with it. May be called again."""
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error

    def discard(self) -> None:
        """Returns when no noise is being made any more, and leaves the parameters without gradients."""
        if self._thread is not None:
            self._thread.join()
        for parameter in self._parameters:
            parameter.grad = None

    def _fill_aside(self) -> None:
        try:
            self._fill()
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            self._error = error

    def _fill(self) -> None:
        for gradient in self._gradients:
            self._noise.normal_(gradient, std=self._std)


def _gradient(parameter: Tensor) -> Tensor:
    """A parameter's gradient, made where there is none; not a sum yet, so what it held is lost."""
    if parameter.grad is None:
        parameter.grad = torch.empty_like(parameter)
    return parameter.grad
