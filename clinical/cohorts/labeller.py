"""A labeller: the function that labels a shard, and which facts a hospital must hold for it to mean anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from clinical.cohorts.signs import concept_codes, measuring_codes, sign_codes
from clinical.features.concepts import read_concepts
from clinical.profile import PREFIX_OF_SYSTEM

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from clinical.cohorts.attrition import Labelled
    from clinical.cohorts.records import Record

__all__ = ["Labeller", "holds", "in_words"]


@dataclass(frozen=True, slots=True)
class Labeller:
    """How one task is labelled.

    Attributes:
        label: labels the whole patients of one shard.
        needs: the facts without which there are no labels; see `holds`.
        improved_by: facts it uses where they are there; their absence is told.
        between_visits: the answer lies in a later visit, so the times between visits must be real.
    """

    label: Callable[[Record], Labelled]
    needs: tuple[str, ...]
    improved_by: tuple[str, ...] = ()
    between_visits: bool = False


_CODES: Final = {
    "admissions": ("ADMISSION",),
    "discharges": ("DISCHARGE",),
    "intensive-care stays": ("ICU//IN", "ICU//OUT"),
}
_SIGNS: Final = {
    "antibiotics": ("antibiotics", "antibiotics-ordered"),
    "vasopressors": ("norepinephrine", "dopamine", "dobutamine"),
    "ventilation": ("ventilation",),
    "urine": ("urine",),
    "cultures": ("cultures",),
    "coma scale": ("coma-scale", "coma-eyes"),
}
_DIAGNOSES: Final = (PREFIX_OF_SYSTEM["ICD10CM"], PREFIX_OF_SYSTEM["ICD9CM"])


def holds(fact: str, codes: Collection[str]) -> bool:
    """Tell whether a hospital whose events have these codes holds a fact a labeller names.

    A fact is a group of codes ("admissions", "discharges", "intensive-care stays", "measurements"), a sign, or the name
    of a concept of `clinical.features.concepts`.

    >>> holds("crea", ["LAB//Creatinine//mg/dL"]), holds("cultures", ["LAB//Creatinine//mg/dL"])
    (True, False)
    """
    if fact in _CODES:
        return all(code in codes for code in _CODES[fact])
    if fact in _SIGNS:
        return any(sign_codes(sign, codes) for sign in _SIGNS[fact])
    if fact == "measurements":
        return bool(measuring_codes(codes))
    if fact == "ICD-9-CM or ICD-10-CM diagnoses":
        return any(code.startswith(_DIAGNOSES) for code in codes)
    return bool(concept_codes(fact, codes))


def in_words(fact: str) -> str:
    """Name a fact for people: a concept by its code's own name.

    >>> in_words("crea"), in_words("cultures")
    ('Creatinine', 'cultures')
    """
    spelled = {concept.name: concept.code.split("//")[1] for concept in read_concepts()}
    return fact if fact in _SIGNS else spelled.get(fact, fact)
