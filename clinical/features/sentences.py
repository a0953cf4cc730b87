"""The state of a patient at a moment, written in short plain sentences for a sentence encoder to read.

The words depend on the patient's own events up to the moment and on public tables, and always come in the same order:
who it is, what was last measured far from usual and where it tends, what was diagnosed, given and done. What is usual
is not said: an encoder averages what it reads, and forty usual values drown the few that matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from clinical.features.concepts import match_codes, read_concepts
from clinical.features.tokens import scale_values
from clinical.features.tracks import HOUR_US, MARK, STANDING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clinical.features.tracks import Tracks

__all__ = ["write_states"]

_DAY_HOURS: Final = 24  # how far back a trend looks
_CHANGE: Final = 0.5  # on the public scale, from where on a number rises or falls
_FAR: Final = 1.5  # on the public scale, from where on it is high or low
_MOST: Final = 20  # of a list, the latest first
_LISTS: Final = {
    "Diagnoses": ("DIAG//", "REASON//", "HISTORY//"),
    "Medications": ("MED//", "GIVEN//", "INFUSION//", "HOME_MED//"),
    "Treatments": ("PROC//", "TREATMENT//"),
}


def write_states(tracks: Tracks, titles: Sequence[str]) -> list[str]:
    """Write the state at every moment, in the order of steps.

    Args:
        tracks: N tracks.
        titles: C titles in readable words, of the tracks' codes.
    """
    scaled = scale_values(tracks.codes, tracks.code.astype(np.int64), tracks.value)
    writer = _Writer(tracks.codes, titles)
    found = []
    for begin, end in zip(tracks.starts[:-1].tolist(), tracks.starts[1:].tolist(), strict=True):
        for moment in (begin + np.flatnonzero(tracks.code[begin:end] == MARK)).tolist():
            events = begin + np.flatnonzero(tracks.code[begin:moment] != MARK)
            seen = (tracks.code[events], tracks.time[events], tracks.value[events], scaled[events])
            found.append(writer.write(*seen, moment=int(tracks.time[moment])))
    return found


class _Writer:
    """Knows what a hospital's codes are called."""

    def __init__(self, codes: Sequence[str], titles: Sequence[str]) -> None:
        concepts, meaning = read_concepts(), match_codes(codes)
        self._codes = codes
        self._measured = {place: _name(code) for place, code in enumerate(codes) if code in meaning}
        self._unit = {place: concepts[meaning[codes[place]].concept].unit for place in self._measured}
        self._list = {
            place: (heading, titles[place])
            for place, code in enumerate(codes)
            for heading, prefixes in _LISTS.items()
            if code.startswith(prefixes)
        }

    def write(self, code: np.ndarray, time: np.ndarray, value: np.ndarray, scaled: np.ndarray, *, moment: int) -> str:
        """Write one state from the events before it, in order."""
        sentences = [self._person(code, value), self._since(time, moment)]
        numbered = np.flatnonzero(~np.isnan(value))
        known = [place for place in np.unique(code[numbered]).tolist() if place in self._measured]
        for place in sorted(known, key=lambda each: self._measured[each]):
            at = numbered[code[numbered] == place]
            recent = at[time[at] >= moment - _DAY_HOURS * HOUR_US]
            unit = self._unit[place].replace("ratio", "")
            number = f"{value[at[-1]]:.3g} {unit}".strip()
            if far := _far(scaled[at[-1]]):
                sentences.append(f"{self._measured[place]} {number}, {far}{_tendency(scaled[recent])}.")
        sentences += self._lists(code)
        return " ".join(sentence for sentence in sentences if sentence)

    def _person(self, code: np.ndarray, value: np.ndarray) -> str:
        """Age and sex, as far as they are known."""
        said = [(self._codes[place], number) for place, number in zip(code.tolist(), value.tolist(), strict=True)]
        ages = [number for name, number in said if name == "AGE//years" and not np.isnan(number)]
        sexes = [name[-1] for name, _ in said if name in {"GENDER//F", "GENDER//M"}]
        person = {"F": "woman", "M": "man"}.get(sexes[-1] if sexes else "", "person")
        return f"A {person} of {int(ages[-1])} years." if ages else f"A {person} of unknown age."

    @staticmethod
    def _since(time: np.ndarray, moment: int) -> str:
        """How long the record goes back."""
        timed = time[time != STANDING]
        return f"Observed for {(moment - int(timed[0])) // HOUR_US} hours." if len(timed) else ""

    def _lists(self, code: np.ndarray) -> list[str]:
        """What was diagnosed, given and done, the latest first, each once."""
        latest = dict.fromkeys(reversed(code.tolist()))
        found = []
        for heading in _LISTS:
            own = dict.fromkeys(self._list[place][1] for place in latest if self._list.get(place, ("",))[0] == heading)
            if own:
                found.append(f"{heading}: {'; '.join(list(own)[:_MOST])}.")
        return found


def _name(code: str) -> str:
    """The middle part of a measurement's code."""
    return code.split("//")[1]


def _far(last: float) -> str:
    """Say whether a number is far from usual; "" where it is not."""
    return "high" if last > _FAR else "low" if last < -_FAR else ""


def _tendency(recent: np.ndarray) -> str:
    """Say where numbers tend; nothing of a single one."""
    if len(recent) < 2:
        return ""
    change = float(recent[-1] - recent[0])
    return " and rising" if change > _CHANGE else " and falling" if change < -_CHANGE else " and steady"
