"""The form in which a model sees a record: which of the public descriptions of events a study chose.

Hospitals whose features differ must not be averaged, so the form says its name, and the name holds everything a vector
depends on: the same name, the same numbers for the same events.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["GRID", "Form"]

GRID = "hourly variables on public scales, version 2"


@dataclass(frozen=True, slots=True)
class Form:
    """What a study says of features.

    Attributes:
        kind: "grid", hours and variables; "events", one vector an event; "text", the state in words.
        tokens: how an event's code becomes a vector: by its "code" or by its title's "text".
        time: whether a model is told when events were.
        value: whether a model is told an event's number.
        events: L, the last events before a moment that are kept.
        encoder: the sentence encoder, by name or folder; read only where text is.
        variables: of the grid, the concepts that are laid out; empty for all.
    """

    kind: Literal["grid", "events", "text"] = "grid"
    tokens: Literal["code", "text"] = "code"
    time: bool = True
    value: bool = True
    events: int = 256
    encoder: str = ""
    variables: tuple[str, ...] = ()

    @property
    def reads_text(self) -> bool:
        """Whether an encoder is needed."""
        return self.kind == "text" or (self.kind == "events" and self.tokens == "text")

    def describe(self, encoder: str) -> str:
        """Name the form.

        Args:
            encoder: the encoder's identity; unused where no text is read.

        >>> Form("events", value=False).describe("")
        'the last 256 events by code, with time, version 1'
        """
        if self.kind == "grid":
            return f"{' '.join(sorted(set(self.variables))) or 'all'} {GRID}"
        if self.kind == "text":
            return f"the last {self.events} events in sentences read by {encoder}, version 1"
        tokens = "by code" if self.tokens == "code" else f"by title read by {encoder}"
        told = "".join(f", with {name}" for name, wanted in (("time", self.time), ("value", self.value)) if wanted)
        return f"the last {self.events} events {tokens}{told}, version 1"
