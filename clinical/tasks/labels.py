"""Which labels an admission's billed codes give in one label space, and what is lost on the way.

ICD-9 and ICD-10 are two label spaces. Translating ICD-9-CM into ICD-10-CM is possible and lossy: a fifth of the codes
have several equivalents and the record does not say which one held. The rule here: *all* equivalents become labels,
exact or not, alternatives and combinations alike, because leaving the code out would teach that none holds. A code with
more than eight equivalents (one has 533) says too little about each of them and is lost, like a code with none.
Everything but one exact equivalent counts as approximate, so that a report can say how much of a hospital is guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from clinical.codes import SYSTEMS, is_known, normalise, translate_icd9
from clinical.events import PREFIX_OF_SYSTEM

if TYPE_CHECKING:
    from collections.abc import Iterable

    from clinical.codes import System

_MOST_EQUIVALENTS = 8
#: The code systems of each label space, diagnoses first.
SYSTEMS_OF: dict[str, tuple[System, ...]] = {"icd9": ("ICD9CM", "ICD9PROC"), "icd10": ("ICD10CM", "ICD10PCS")}


@dataclass(frozen=True, slots=True)
class Meaning:
    """The labels of one or several billed codes, and how many of them fared how."""

    codes: tuple[str, ...]
    unknown: int = 0
    foreign: int = 0
    translated: int = 0
    approximate: int = 0
    lost: int = 0


class CodeReader:
    """Reads billed codes into one label space, each distinct code once.

    Args:
        system: the label space.
        translate: translate ICD-9-CM diagnoses in the "icd10" space.

    Raises:
        ValueError: there is no such label space.
    """

    def __init__(self, system: Literal["icd9", "icd10"], *, translate: bool) -> None:
        if system not in SYSTEMS_OF:
            raise ValueError(f"system {system!r} is unknown; it is one of {', '.join(SYSTEMS_OF)}")
        self._own = SYSTEMS_OF[system]
        self._translate = translate and system == "icd10"
        self._read: dict[str, Meaning] = {}

    def read(self, events: Iterable[str]) -> Meaning:
        """Give the distinct labels, sorted, of event codes such as "DIAG//ICD10CM//I50.22"."""
        each = [self._meaning(event) for event in {_spell(event) for event in events}]
        return Meaning(
            codes=tuple(sorted({code for meaning in each for code in meaning.codes})),
            unknown=sum(meaning.unknown for meaning in each),
            foreign=sum(meaning.foreign for meaning in each),
            translated=sum(meaning.translated for meaning in each),
            approximate=sum(meaning.approximate for meaning in each),
            lost=sum(meaning.lost for meaning in each),
        )

    def _meaning(self, billed: tuple[System, str]) -> Meaning:
        key = "//".join(billed)
        if key not in self._read:
            self._read[key] = self._interpret(*billed)
        return self._read[key]

    def _interpret(self, system: System, code: str) -> Meaning:
        if system in self._own:
            return Meaning((code,), unknown=int(not is_known(code, system=system)))
        if not (self._translate and system in SYSTEMS_OF["icd9"]):
            return Meaning((), foreign=1)
        targets, exact = _translate(code) if system == "ICD9CM" else ((), False)
        if not 0 < len(targets) <= _MOST_EQUIVALENTS:
            return Meaning((), lost=1)
        return Meaning(targets, translated=int(exact), approximate=int(not exact))


def _translate(code: str) -> tuple[tuple[str, ...], bool]:
    """Give the ICD-10-CM equivalents of a code, and whether there is one exact one."""
    try:
        translation = translate_icd9(code)
    except ValueError:  # kept at rest although it cannot be ICD-9-CM: it has no equivalent
        return (), False
    return translation.targets, len(translation.targets) == 1 and not translation.approximate


def _spell(event: str) -> tuple[System, str]:
    """Separate the system from the code and spell the code as at rest; one that cannot be spelled stays as it is."""
    system = next(system for system in SYSTEMS if event.startswith(PREFIX_OF_SYSTEM[system]))
    code = event.removeprefix(PREFIX_OF_SYSTEM[system]).strip()
    try:
        return system, normalise(code, system=system)
    except ValueError:
        return system, code.upper()
