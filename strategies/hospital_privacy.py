"""Hospital-level differential privacy: one noised sum of clipped updates a round, whatever the hospitals weigh.

Each hospital's *change* of the model is clipped as one vector. The changes are added with weights that were fixed when
the hospitals were admitted, and the denominator stays when some drop out: a missing hospital adds nothing, and nobody's
weight grows. So the most one hospital can move the sum is known before the first round, and Gaussian noise in
proportion to it hides any one of them. Flower's wrappers divide by the replies that came, under noise for equal
weights: a large hospital, or a round with drop-outs, then moves the model further than their noise covers.

What a strategy makes of the noised model is its own affair: it sees one update that no longer depends on anybody.

Source: McMahan, Ramage, Talwar & Zhang 2018 (arXiv 1710.06963), section 3: the estimator with a fixed denominator and
flat clipping, every hospital taking part in every round, so that nothing is amplified by sampling.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg

from privacy.accounting import PoissonGaussian
from strategies import EVERYBODY, WEIGHT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from flwr.app import ConfigRecord, Message
    from flwr.serverapp import Grid
    from numpy.typing import NDArray

    from privacy.noise import NoiseSource

    Arrays = dict[str, np.ndarray]


def fixed_weights(patients: Mapping[int, int], *, most: int = 0) -> dict[int, float]:
    """Turn patient numbers into the weights of a whole study.

    Args:
        patients: of every admitted hospital, by node; from here on public.
        most: a hospital weighs as if it had at most so many; 0 for no cap. The noise is scaled to the largest weight,
            so a cap near the median costs less signal than it saves noise.

    Returns:
        Weights above 0 that sum to 1, by node.

    Raises:
        ValueError: there is no hospital, or one has no patient.

    >>> fixed_weights({1: 100, 2: 300}), fixed_weights({1: 100, 2: 300}, most=100)
    ({1: 0.25, 2: 0.75}, {1: 0.5, 2: 0.5})
    """
    if not patients or min(patients.values()) < 1:
        raise ValueError(f"weights need hospitals with at least one patient each, got {dict(patients)}")
    counted = {node: min(number, most) if most else number for node, number in patients.items()}
    return {node: number / sum(counted.values()) for node, number in counted.items()}


@dataclass(frozen=True, slots=True)
class HospitalSum:
    """The Gaussian mechanism on the weighted sum of the hospitals' clipped changes of a model.

    Attributes:
        weights: of every hospital that may contribute, by node; fixed for the study, > 0.
        clip_norm: S, the longest change a hospital may make, in the L2 norm, > 0.
        noise_multiplier: z, standard deviation of the noise over `sensitivity`, > 0.
    """

    weights: Mapping[int, float]
    clip_norm: float
    noise_multiplier: float

    def __post_init__(self) -> None:
        for name in ("clip_norm", "noise_multiplier"):
            if not (getattr(self, name) > 0 and math.isfinite(getattr(self, name))):
                raise ValueError(f"{name} must be finite and > 0, got {getattr(self, name)}")
        if not self.weights or not all(0 < weight <= 1 for weight in self.weights.values()):
            raise ValueError(f"weights must lie in (0, 1], got {dict(self.weights)}")

    @property
    def sensitivity(self) -> float:
        """The most one hospital's presence moves the sum, in the L2 norm."""
        return self.clip_norm * max(self.weights.values())

    @property
    def deviation(self) -> float:
        """Standard deviation of the noise in each parameter."""
        return self.noise_multiplier * self.sensitivity

    def noise_norm(self, parameters: int) -> float:
        """Root mean square length of a round's noise over so many parameters; the sum itself is at most S long."""
        return self.deviation * math.sqrt(parameters)

    def event(self, *, rounds: int = 1) -> PoissonGaussian:
        """What that many rounds cost."""
        return PoissonGaussian(1.0, self.noise_multiplier, rounds)

    def bounded_sum(self, updates: Mapping[int, Arrays], sent: Arrays) -> NDArray[np.float64]:
        """Add up the clipped changes, without noise: not private.

        Args:
            updates: models that came back, by node; screened, any subset of the weights' hospitals.
            sent: the model they were asked to improve.

        Returns:
            float64 [P], all arrays of the model one after the other.

        Raises:
            KeyError: an update comes from a hospital that was not admitted.
            ValueError: an update is not finite.
        """
        total = np.zeros(sum(array.size for array in sent.values()))
        origin = _flat(sent, sent)
        for node, update in updates.items():
            change = _flat(update, sent) - origin
            length = float(np.linalg.norm(change))
            if not math.isfinite(length):
                raise ValueError(f"the update of node {node} is not finite: nothing is released")
            total += self.weights[node] * self.clip_norm / max(length, self.clip_norm) * change
        return total

    def release(self, updates: Mapping[int, Arrays], sent: Arrays, noise: NoiseSource) -> Arrays:
        """Return the model moved by the noised sum of its hospitals' changes.

        Args: as in `bounded_sum`, and the source of the Gaussian noise.

        Returns:
            Arrays of the names, shapes and dtypes of `sent`.

        Guarantee:
            Leaving out all a hospital sent moves `bounded_sum` by at most `sensitivity` (up to float64 rounding),
            whoever else is missing, so a call is one `event()` for a hospital's updates present or absent. Public
            are the weights and with them who was admitted, S and z. It holds against whoever sees the result, not
            against the coordinator, who saw the updates. In floating point, see `privacy.noise`.
        """
        moved = _flat(sent, sent) + self.bounded_sum(updates, sent)
        moved += noise.normals(len(moved), std=self.deviation)
        parts = np.split(moved, np.cumsum([array.size for array in sent.values()])[:-1])
        return {
            name: part.reshape(array.shape).astype(array.dtype)
            for (name, array), part in zip(sent.items(), parts, strict=True)
        }


class HospitalPrivate(FedAvg):
    """A strategy that shows another one nothing but the noised model of each round.

    Args:
        inner: decides what is sent, and what is made of the noised model.
        mechanism: bounds and noises.
        noise: source of the noise.
        charge: is called before a round is asked; where it raises, the round does not happen.
    """

    def __init__(self, inner: FedAvg, mechanism: HospitalSum, noise: NoiseSource, charge: Callable[[], None]) -> None:
        super().__init__(**EVERYBODY)
        self._inner, self._mechanism, self._noise, self._charge = inner, mechanism, noise, charge
        self._sent: Arrays | None = None

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Charge the round, then let the inner strategy say what is sent."""
        self._charge()
        self._sent = {name: array.numpy() for name, array in arrays.items()}
        return self._inner.configure_train(server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Noise the sum of the replies' changes once, and hand the inner strategy the result as the only reply.

        Raises:
            RuntimeError: the round was not charged, or was aggregated before.
        """
        if self._sent is None:
            raise RuntimeError(f"round {server_round} was not charged or is released already: nothing is aggregated")
        sent, self._sent = self._sent, None
        came = {reply.metadata.src_node_id: reply for reply in replies}
        updates = {node: _arrays(reply) for node, reply in came.items()}
        released = self._mechanism.release(updates, sent, self._noise)
        only = copy.copy(next(iter(came.values())))
        record = ArrayRecord({name: Array(array) for name, array in released.items()})
        only.content = RecordDict({"arrays": record, "metrics": MetricRecord({WEIGHT: 1.0})})
        return self._inner.aggregate_train(server_round, [only])


def _arrays(reply: Message) -> Arrays:
    return {name: array.numpy() for name, array in reply.content.array_records["arrays"].items()}


def _flat(arrays: Arrays, order: Mapping[str, Any]) -> NDArray[np.float64]:
    return np.concatenate([arrays[name].astype(np.float64).ravel() for name in order])
