"""A visit: one message at one hospital, read.

What a message may hold stands here, what a reply may hold in `clients.replies`, and both again in `server.exchange`.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from clients import admission, training
from clients.hospital import Hospital, locate
from clients.work import open_work
from study.protocol import ProtocolError, Study, parse

if TYPE_CHECKING:
    import numpy as np
    from flwr.app import ConfigRecord, Context, Message, RecordDict

    from clients.admission import Plan
    from clients.synthesis import Synthesis
    from clients.work import Offer, Work
    from privacy.noise import NoiseSource


class Visit:
    """What a handler may ask of the message that came and of the hospital it came to."""

    def __init__(self, message: Message, context: Context) -> None:
        """Read the study and find the hospital.

        Raises:
            ProtocolError: the run configuration is not a study.
            PolicyRefusal: this node speaks for no hospital, or its policy cannot be read.
        """
        self.study: Study = parse(context.run_config)
        self.hospital: Hospital = locate(self.study, context.node_config)
        self.run = str(context.run_id)
        self.content: RecordDict = message.content

    @property
    def terms(self) -> ConfigRecord:
        """What the coordinator says besides the model."""
        return self.content.config_records["config"]

    @property
    def round(self) -> int:
        """The number of the round, from 1."""
        return int(str(self.terms["server-round"]))

    @property
    def proximal_mu(self) -> float:
        """FedProx' weight, 0 under every other strategy."""
        return float(str(self.terms.get("proximal-mu", 0.0)))

    @cached_property
    def work(self) -> Work:
        """What the study asks for, on this hospital's records."""
        return open_work(self)

    @cached_property
    def synthesis(self) -> Synthesis:
        """What this hospital does with its table.

        Raises:
            ProtocolError: the study trains a model.
        """
        from clients.synthesis import Synthesis

        if not self.study.synthesises:
            raise ProtocolError("only a study of synthesis asks of a table")
        return Synthesis(self)

    @property
    def offer(self) -> Offer:
        """What the hospital brings to the study."""
        return self.synthesis if self.study.synthesises else self.work

    @cached_property
    def plan(self) -> Plan:
        """The hospital's sampling, steps and noise."""
        return admission.plan(self.study, admission.public_patients(self.study, self.hospital))

    def arrays(self, record: str) -> dict[str, np.ndarray]:
        """Return the numpy arrays of one record of the message."""
        return {name: array.numpy() for name, array in self.content.array_records[record].items()}

    def may_send(self, metric: str) -> bool:
        """Tell whether site policy lets a group of numbers leave."""
        return self.hospital.policy.allows_metric(metric)

    @property
    def minimum_cell(self) -> int:
        """The smallest count that may leave."""
        return self.hospital.policy.minimum_cell

    def noise(self, purpose: str) -> NoiseSource:
        """Return the source of noise for one purpose of this visit; no two share randomness."""
        return training.noise_source(self.study, f"{self.hospital.name}/{purpose}")
