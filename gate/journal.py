"""The audit log of a site: who asked what, what was decided, and what left, one line each, chained.

An entry holds names, shapes, sizes, hashes and reasons, never a number that was computed on a patient. What was decided
is on the disk before anything leaves; where it cannot be written, nothing leaves.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from clinical.chain import ChainWriter

if TYPE_CHECKING:
    from pathlib import Path

Decision = Literal[
    "started", "restarted", "stopped", "admitted", "answered", "refused", "withheld", "failed", "cancelled", "unsent"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One message from the coordinator.

    Attributes:
        run: Flower's number of the run.
        study: the study's name, as the coordinator gives it.
        study_digest: SHA-256 of what was agreed; empty where the settings are no study of this version.
        application: SHA-256 of the bundle that was sent.
        question: the message's type.
        round: the training round; 0 outside of one.
    """

    run: str
    study: str
    study_digest: str
    application: str
    question: str
    round: int = 0


class Journal:
    """Writes the audit log; every entry is on the disk when its call returns."""

    def __init__(self, path: Path) -> None:
        """Name the file."""
        self._writer = ChainWriter(path)

    def note(self, decision: Decision, **facts: Any) -> None:
        """Write what happened to the gate itself."""
        self._writer.append({"decision": decision, **facts}, at=datetime.now(UTC))

    def decide(self, asked: Asked, decision: Decision, *, reason: str = "", **facts: Any) -> None:
        """Write what was decided on a message.

        Args:
            asked: the message.
            decision: ``admitted`` before the application runs, one of the others afterwards.
            reason: for whatever was not answered; the same text that the coordinator gets.
            **facts: what left (names, shapes, bytes, hash) and what was charged.
        """
        entry = {"decision": decision, **asdict(asked), **({"reason": reason} if reason else {}), **facts}
        self._writer.append(entry, at=datetime.now(UTC))
