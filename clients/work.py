"""The kinds of work a hospital can be asked to do, behind one face: coding a note, predicting an outcome.

What differs between them is what is read, what is counted and what leaves; admission, privacy, training and the border
are the same. A handler asks for the visit's work and never which kind it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from clinical.tasks import family_of
from study.protocol import ProtocolError

if TYPE_CHECKING:
    from flwr.app import RecordDict
    from torch import nn

    from clients.canaries import Planted
    from clients.visit import Visit
    from clinical.learning import Cases


class Offer(Protocol):
    """What a hospital brings to a study."""

    def put_offer(self, content: RecordDict) -> None:
        """Add what the hospital brings: the form of its examples and, where they may leave, their counts."""


class Work(Offer, Protocol):
    """One visit's work at one hospital, of a study that trains a model."""

    @property
    def planted(self) -> Planted | None:
        """The run's canaries here, among the training split; None where the study has none."""

    def examples(self) -> Cases:
        """Give the training split."""

    def model(self) -> nn.Module:
        """Build the study's model with the weights that came."""

    def put_curve(self, content: RecordDict, model: nn.Module) -> None:
        """Add how well the model that came does on the tuning split."""

    def put_tuning(self, content: RecordDict, model: nn.Module) -> None:
        """Add what the coordinator needs of the tuning split to settle how the final model is read."""

    def put_judgement(self, content: RecordDict, model: nn.Module) -> None:
        """Add how well the final model does on the held-out split."""

    def put_alone(self, content: RecordDict) -> None:
        """Train the model that came on this hospital only, and add how well it does on the held-out split."""


def open_work(visit: Visit) -> Work:
    """Return the work the visit's study asks for.

    Raises:
        ProtocolError: the study trains no model.
    """
    if visit.study.synthesises:
        raise ProtocolError("a study of synthesis has no model that could be judged")
    if family_of(visit.study.task.name) == "prediction":
        from clients.prediction import Prediction

        return Prediction(visit)
    from clients.coding import Coding

    return Coding(visit)
