"""What one forward and one backward pass leave behind: every trainable layer's inputs and the gradients at its outputs.

Autograd never computes a weight gradient: only layers' outputs are asked for. Each is handed on while the pass runs, so
that a layer's activations are as short-lived as in a plain step. Clipping is exact only if every trainable parameter
acts through those outputs alone, so the graph of the loss is searched for any other way to one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd.graph import GradientEdge, get_gradient_edge

from privacy.layers import find_rule
from privacy.layers.uses import UnsupportedLayer, Use

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn
    from torch.autograd.graph import Node

    from privacy.layers.rule import LayerRule

    Inputs = Tensor | tuple[Tensor, ...]
    Consumer = Callable[[nn.Module, list[Use]], None]


@dataclass(frozen=True, slots=True)
class _Call:
    """A product of a layer and its parameters during the forward pass."""

    layer: nn.Module
    part: str
    inputs: Tensor
    version: int
    source: Node | None
    output: GradientEdge


class Recording:
    """The calls of a model's trainable layers during one forward pass.

    Args:
        model: the model.
        examples: examples in the batch, B.

    Attributes:
        calls: what was recorded, in order.
    """

    __slots__ = ("_examples", "_paths", "calls")

    def __init__(self, model: nn.Module, examples: int) -> None:
        self._examples = examples
        self._paths = {id(layer): path or "the model itself" for path, layer in model.named_modules()}
        self.calls: list[_Call] = []

    def name(self, layer: nn.Module) -> str:
        """Returns a layer's path and type, for an error."""
        return f"{self._paths[id(layer)]} ({type(layer).__name__})"

    def record(self, layer: nn.Module, inputs: Tensor, output: Tensor, part: str = "") -> None:
        """Notes that `layer` made `output` from `inputs` with the parameters its rule knows as `part`.

        Raises:
            UnsupportedLayer: the input is not the batch of examples, or nothing can be learned through the output.
        """
        rule = find_rule(layer)
        assert rule is not None
        frozen = torch.is_grad_enabled() and not output.requires_grad  # this part is, or the weight would want one
        if frozen or not owns_trainable(layer):
            return
        if inputs.ndim < rule.dimensions(layer) or len(inputs) != self._examples:
            raise UnsupportedLayer(
                f"{self.name(layer)} was called on {list(inputs.shape)} in a batch of {self._examples} examples: "
                "keep the examples in the first dimension"
            )
        if not output.requires_grad:
            raise UnsupportedLayer(
                f"{self.name(layer)} was called with gradients switched off: freeze its parameters, and do not "
                "recompute activations"
            )
        a = inputs.detach()
        source = get_gradient_edge(inputs).node if inputs.requires_grad else None
        version = a._version  # noqa: SLF001 - compared when its gradient arrives
        self.calls.append(_Call(layer, part, a, version, source, get_gradient_edge(output)))

    def find_leaves(self, model: nn.Module, losses: Tensor) -> list[GradientEdge]:
        """Accepts losses that reach trainable parameters through the recorded outputs alone.

        Returns:
            The other leaves they reach, as inputs that want a gradient.

        Raises:
            UnsupportedLayer: they reach one otherwise: a weight is used outside its layer's forward pass, or the output
                was a view, was overwritten and so left the route that was recorded.
        """
        names = {id(p): name for name, p in model.named_parameters() if p.requires_grad}
        seen = {call.output.node for call in self.calls}  # what lies behind a layer's output is the layer's
        starts = [call.source for call in self.calls] + [get_gradient_edge(losses).node]
        waiting = [node for node in starts if node is not None and node not in seen]
        leaves: list[GradientEdge] = []
        while waiting:
            node = waiting.pop()
            if node in seen:
                continue
            seen.add(node)
            variable = getattr(node, "variable", None)
            if id(variable) in names:
                raise UnsupportedLayer(
                    f"{names[id(variable)]} is used outside its layer's forward pass, or an inplace layer overwrote "
                    "its output"
                )
            if variable is not None:
                leaves.append(GradientEdge(node, 0))
            waiting += [after for after, _ in node.next_functions if after is not None and after not in seen]
        return leaves


class _Delivery:
    """Collects the gradients at recorded outputs, and hands on a layer's uses once all its calls have theirs.

    Args:
        recording: the calls; emptied, so that what nobody needs is freed on the way.
        consume: gets a layer and its uses.
    """

    def __init__(self, recording: Recording, consume: Consumer) -> None:
        self._name, self._consume = recording.name, consume
        self._pending = dict(enumerate(recording.calls))
        self._missing = Counter(call.layer for call in recording.calls)
        self._arrived: defaultdict[nn.Module, list[Use]] = defaultdict(list)
        recording.calls.clear()

    def run(self, losses: Tensor, leaves: list[GradientEdge]) -> None:
        """Runs the backward pass. Every node that leads to a first layer or a leaf is run; a hook sees its gradient."""
        first = [i for i, call in self._pending.items() if call.source is None]
        captured = [self._pending[i].output for i in first] + leaves
        with ExitStack() as stack:
            for i, call in self._pending.items():
                if call.source is not None:
                    stack.callback(call.output.node.register_prehook(self._hook(i, call.output.output_nr)).remove)
            gradients = torch.autograd.grad(losses.sum(), captured, allow_unused=True)
        for i, gradient in zip(first, gradients, strict=False):  # the leaves' own gradients are nobody's
            self._deliver(i, gradient)
        for layer, uses in self._arrived.items():
            self._consume(layer, uses)

    def _hook(self, i: int, output: int) -> Callable[[tuple[Tensor | None, ...]], None]:
        return lambda gradients: self._deliver(i, gradients[output])

    def _deliver(self, i: int, gradient: Tensor | None) -> None:
        if gradient is None:
            return
        call = self._pending.pop(i)
        if call.inputs._version != call.version:  # noqa: SLF001 - autograd's own check covers only what it saved
            raise UnsupportedLayer(f"the input of {self._name(call.layer)} was overwritten: avoid inplace layers here")
        self._arrived[call.layer].append(Use(call.inputs, gradient, call.part))
        self._missing[call.layer] -= 1
        if not self._missing[call.layer]:
            self._consume(call.layer, self._arrived.pop(call.layer))


def run(model: nn.Module, inputs: Inputs, per_example_loss: Callable[[Any], Tensor], consume: Consumer) -> Tensor:
    """Runs one forward and one backward pass.

    Args:
        model: the model, all of whose trainable layers have rules.
        inputs: the examples, [B, ...], or a tuple of such tensors, an argument of the model each; B >= 1.
        per_example_loss: maps the model's output to losses [B].
        consume: is called once for each trainable layer that the loss depends on, with all its uses, as soon as the
            backward pass has them: what it does not keep is freed while the pass goes on.

    Returns:
        The losses, [B], detached.

    Raises:
        UnsupportedLayer: a layer is used in a way that cannot be clipped exactly.
        ValueError: the losses are not one for each example, or nothing is to be learned from them.
    """
    losses, recording = _forward(model, inputs, per_example_loss)
    leaves = recording.find_leaves(model, losses)
    _Delivery(recording, consume).run(losses, leaves)
    return losses.detach()


def check_independence(model: nn.Module, inputs: Inputs, per_example_loss: Callable[[Any], Tensor]) -> None:
    """Accepts a model and loss that treat the examples of a batch apart, at the price of two plain steps.

    A clipped gradient bounds what a patient's own losses say. Were another patient's loss to depend on their examples
    too, no clipping would bound that, so run this once on real examples before training a new architecture.

    Args: as in `run`, with B >= 2.

    Raises:
        UnsupportedLayer: the losses of one half of the batch change with what a layer makes of the other half.
    """
    losses, recording = _forward(model, inputs, per_example_loss)
    half = len(losses) // 2
    edges = [call.output for call in recording.calls]
    for mine, others in ((slice(half), slice(half, None)), (slice(half, None), slice(half))):
        gradients: tuple[Tensor | None, ...] = torch.autograd.grad(
            losses[mine].sum(), edges, allow_unused=True, retain_graph=True
        )
        for call, gradient in zip(recording.calls, gradients, strict=True):
            if gradient is not None and bool(gradient[others].any()):
                raise UnsupportedLayer(f"behind {recording.name(call.layer)} the model or its loss mixes examples")


def _forward(model: nn.Module, inputs: Inputs, per_example_loss: Callable[[Any], Tensor]) -> tuple[Tensor, Recording]:
    """The losses, still attached, and what was recorded on the way."""
    examples = inputs if isinstance(inputs, tuple) else (inputs,)
    B = len(examples[0])
    with torch.enable_grad(), _recorded(model, B) as recording:
        losses = per_example_loss(model(*examples))
    if losses.shape != (B,):
        raise ValueError(f"per_example_loss must return [{B}], one loss an example, got {list(losses.shape)}")
    if not losses.requires_grad:
        raise ValueError("the loss depends on no layer with trainable parameters: there is nothing to train")
    return losses, recording


@contextmanager
def _recorded(model: nn.Module, examples: int) -> Iterator[Recording]:
    """Records every product of a layer with trainable parameters of its own; the model is as before afterwards."""
    recording = Recording(model, examples)

    def record(layer: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any], output: Tensor) -> None:
        given = [value for value in (*arguments, *named.values()) if value is not None]
        if len(given) != 1:
            raise UnsupportedLayer(f"{recording.name(layer)} was called with {len(given)} inputs: only one has a rule")
        recording.record(layer, given[0], output)

    with ExitStack() as stack:
        for layer, rule in layers_with_rules(model):
            if rule.forward is not None:
                stack.enter_context(_substituted(layer, rule.forward(layer, recording)))
            else:
                # before any hook of the user's, which may change the output
                handle = layer.register_forward_hook(record, prepend=True, with_kwargs=True)
                stack.callback(handle.remove)
        yield recording


@contextmanager
def _substituted(layer: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Lets a layer run another forward."""
    before = vars(layer).get("forward")
    layer.forward = forward
    try:
        yield
    finally:
        del layer.forward
        if before is not None:
            layer.forward = before


def owns_trainable(layer: nn.Module) -> bool:
    """Whether a layer has trainable parameters of its own."""
    return any(p.requires_grad for p in layer.parameters(recurse=False))


def layers_with_rules(model: nn.Module) -> Iterator[tuple[nn.Module, LayerRule]]:
    """Yields every layer to be recorded, with its rule: owners of trainable parameters, and layers that hide one."""
    for layer in model.modules():
        rule = find_rule(layer)
        hides = rule is not None and rule.forward is not None and any(p.requires_grad for p in layer.parameters())
        if rule is not None and (hides or owns_trainable(layer)):
            yield layer, rule
