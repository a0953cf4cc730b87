"""Signs: drugs, devices, cultures and outputs a label rests on, found among the code spellings of every source.

They are kept apart from the concepts a model sees (`clinical.features.concepts`): a culture or an antibiotic tells that
somebody suspects an infection, which is a definition's business.
"""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clinical.features.concepts import match_codes, read_concepts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from clinical.features.concepts import Meaning

__all__ = ["concept_codes", "measuring_codes", "sign_codes"]

_TABLE = Path(__file__).with_name("signs.toml")


@dataclass(frozen=True, slots=True)
class _Sign:
    """One entry of `signs.toml`, which explains the fields."""

    prefixes: tuple[str, ...]
    words: tuple[str, ...]
    exactly: tuple[str, ...]
    but: tuple[str, ...]

    def holds(self, code: str) -> bool:
        """Tell whether a code belongs to the sign."""
        prefix = next((prefix for prefix in self.prefixes if code.startswith(prefix)), None)
        if prefix is None:
            return False
        rest = code[len(prefix) :].lower() if prefix.count("//") == 1 else code.lower()
        if self.exactly:
            return rest.split("//")[0].strip() in self.exactly
        return any(word in rest for word in self.words) and not any(word in rest for word in self.but)


@functools.cache
def _signs() -> Mapping[str, _Sign]:
    entries = tomllib.loads(_TABLE.read_text(encoding="utf-8"))
    fields = ("prefixes", "words", "exactly", "but")
    return {name: _Sign(*(tuple(entry.get(field, ())) for field in fields)) for name, entry in entries.items()}


def sign_codes(sign: str, codes: Iterable[str]) -> list[str]:
    """Name the codes that show a sign, sorted.

    Raises:
        KeyError: there is no such sign.

    >>> sign_codes("antibiotics", ["GIVEN//Vancomycin", "LAB//Vancomycin//ug/mL", "GIVEN//Ciprofloxacin Ophth Soln"])
    ['GIVEN//Vancomycin']
    """
    return list(_sign_codes(sign, frozenset(codes)))


@functools.lru_cache(maxsize=64)
def _sign_codes(sign: str, codes: frozenset[str]) -> tuple[str, ...]:
    """Remembered, for every shard of a hospital asks the same of all its codes."""
    found = _signs()[sign]
    return tuple(sorted(code for code in codes if found.holds(code)))


def concept_codes(concept: str, codes: Iterable[str]) -> dict[str, float]:
    """Name the codes that measure a concept, with what brings their numbers to the concept's unit.

    >>> concept_codes("crea", ["LAB//Creatinine//mg/dL", "LAB//Sodium//mmol/L"])
    {'LAB//Creatinine//mg/dL': 1.0}
    """
    number = next(place for place, each in enumerate(read_concepts()) if each.name == concept)
    return {code: meaning.factor for code, meaning in _meanings(frozenset(codes)).items() if meaning.concept == number}


def measuring_codes(codes: Iterable[str]) -> list[str]:
    """Name the codes that measure any concept."""
    return list(_meanings(frozenset(codes)))


@functools.lru_cache(maxsize=4)
def _meanings(codes: frozenset[str]) -> Mapping[str, Meaning]:
    return match_codes(codes)
