"""A visit: one message at one hospital, read; and a reply, written.

Message layouts stand here and in `server.exchange` and nowhere else. Every reply carries a ``verdict``; what else it
carries passes through the functions below, which is where site policy decides what leaves.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict

from clients import admission, cohort, training
from clients.hospital import Hospital, locate
from study.protocol import Study, parse

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from clients.admission import Plan
    from clients.cohort import Cohort
    from clients.scoring import Judgement, Tuning


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


def verdict(status: str, **facts: str | float) -> RecordDict:
    """Start a reply: ``ok`` with facts, or ``refused`` or ``error`` with a reason."""
    return RecordDict({"verdict": ConfigRecord({"status": status, **facts})})


def put_arrays(content: RecordDict, record: str, arrays: dict[str, np.ndarray]) -> None:
    """Add numpy arrays to a reply."""
    content[record] = ArrayRecord({name: Array(array) for name, array in arrays.items()})


def put_tuning(content: RecordDict, tuning: Tuning, arrays: dict[str, np.ndarray]) -> None:
    """Add a tuning result to a reply; ``arrays`` is its histogram, by code or overall."""
    put_arrays(content, "tuning", arrays)
    content["tuning-loss"] = MetricRecord({"loss": tuning.loss, "documents": tuning.documents})


def put_judgement(content: RecordDict, judgement: Judgement, *, minimum: int) -> None:
    """Add a judgement to a reply, small cells withheld."""
    shown = judgement.concealed(minimum=minimum)
    put_arrays(content, "tally", shown.tally.to_arrays())
    put_arrays(content, "histogram", shown.histogram.to_arrays())
