"""A visit: one message at one hospital, read.

What a message may hold stands here, what a reply may hold in `clients.replies`, and both again in `server.exchange`.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from clients import admission, canaries, cohort, training
from clients.hospital import Hospital, locate
from study.protocol import Study, parse

if TYPE_CHECKING:
    import numpy as np
    from flwr.app import ConfigRecord, Context, Message, RecordDict
    from torch import nn

    from clients.admission import Plan
    from clients.canaries import Planted
    from clients.cohort import Cohort
    from clinical.learning import Examples
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

    @cached_property
    def codes(self) -> tuple[str, ...]:
        """The agreed vocabulary, K codes."""
        listed: Any = self.terms["vocabulary"]
        return tuple(listed)

    @property
    def round(self) -> int:
        """The number of the round, from 1."""
        return int(str(self.terms["server-round"]))

    @property
    def proximal_mu(self) -> float:
        """FedProx' weight, 0 under every other strategy."""
        return float(str(self.terms.get("proximal-mu", 0.0)))

    @cached_property
    def cohort(self) -> Cohort:
        """The hospital's examples for the agreed vocabulary."""
        return cohort.assemble(self.study, self.hospital, self.codes)

    @cached_property
    def planted(self) -> Planted | None:
        """The run's canaries here, where the study has any."""
        features = self.cohort.train.features.shape[1]
        return canaries.plant(self.study, self.hospital, run=self.run, features=features, codes=len(self.codes))

    @property
    def training_split(self) -> Examples:
        """What a round trains on: the training split, and among its patients the canaries whose coins said so."""
        return self.cohort.train if self.planted is None else self.planted.join(self.cohort.train)

    @cached_property
    def plan(self) -> Plan:
        """The hospital's sampling, steps and noise."""
        return admission.plan(self.study, admission.training_patients(self.hospital))

    def model(self) -> nn.Module:
        """Build the study's model with the weights that came."""
        features = self.cohort.train.features.shape[1]
        return training.load_model(self.study, self.arrays("arrays"), features=features, codes=len(self.codes))

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
