"""What crosses the border: how a reply is begun and how records are put into it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

if TYPE_CHECKING:
    import numpy as np

VERDICT = "verdict"


def verdict(status: str, **facts: str | float) -> RecordDict:
    """Start a reply: ``ok`` with facts, or ``refused`` or ``error`` with a reason."""
    return RecordDict({VERDICT: ConfigRecord({"status": status, **facts})})


def put_facts(content: RecordDict, **facts: str | float) -> None:
    """Add facts to a reply's verdict."""
    content[VERDICT] = ConfigRecord({**dict(content.config_records[VERDICT]), **facts})


def put_arrays(content: RecordDict, record: str, arrays: dict[str, np.ndarray]) -> None:
    """Add numpy arrays to a reply."""
    content[record] = ArrayRecord({name: Array(array) for name, array in arrays.items()})


def put_withheld(content: RecordDict, record: str) -> None:
    """Say in a reply that a record is not in it because too few patients stand behind it."""
    content[f"withheld/{record}"] = MetricRecord({"withheld": 1})
