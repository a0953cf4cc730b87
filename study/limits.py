"""What the value of a study's key may be, and the complaint where it is not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated


class ProtocolError(ValueError):
    """The study as written cannot be run; the message names the key, its value and what would be right."""


@dataclass(frozen=True, slots=True)
class Range:
    """An interval a number must lie in; open ends exclude the bound."""

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False

    def admits(self, value: float) -> bool:
        """Tell whether ``value`` lies in the interval."""
        above = value > self.low if self.low_open else value >= self.low
        below = value < self.high if self.high_open else value <= self.high
        return above and below and math.isfinite(value)

    def __str__(self) -> str:
        """Say the interval in words."""
        parts = []
        if self.low > -math.inf:
            parts.append(f"{'above' if self.low_open else 'at least'} {self.low:g}")
        if self.high < math.inf:
            parts.append(f"{'below' if self.high_open else 'at most'} {self.high:g}")
        return " and ".join(parts)


@dataclass(frozen=True, slots=True)
class Choice:
    """The words a text key may hold."""

    words: tuple[str, ...]

    def admits(self, value: str) -> bool:
        """Tell whether ``value`` is one of the words."""
        return value in self.words

    def __str__(self) -> str:
        """Say the words."""
        return "one of " + ", ".join(self.words)


@dataclass(frozen=True, slots=True)
class Named:
    """A text that must not be empty."""

    def admits(self, value: str) -> bool:
        """Tell whether ``value`` has a visible character."""
        return bool(value.strip())

    def __str__(self) -> str:
        """Say what is asked."""
        return "a name, not empty"


Count = Annotated[int, Range(low=1)]
Positive = Annotated[float, Range(low=0, low_open=True)]
NotNegative = Annotated[float, Range(low=0)]
Name = Annotated[str, Named()]
