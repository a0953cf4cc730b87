"""The codes of other MEDS data sets in the spelling of the profile, where the translation leaves no doubt.

MEDS fixes columns and leaves codes to whoever wrote the data. What the published writers (MIMIC-IV to MEDS, OMOP to
MEDS, the samples) mean is certain for admissions, ICU stays, ICD codes, sex, death and drugs ordered or given: those
are translated, and what stood behind the code (a ward, a destination) becomes the event's text. Any other code stays.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from clinical.sources.vocabularies import GENDER, label, spell_coded, spell_measured

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TIMED_PREFIXES", "TRANSLATIONS", "Item", "Translated", "translate"]

TIMED_PREFIXES: Final = (
    "ADMISSION", "DISCHARGE", "ICU//", "ED//", "DEATH", "DIAG//", "PROC//", "MED//", "GIVEN//", "LAB//", "VITAL//",
    "NOTE//",
)  # fmt: skip
"""Codes that mean nothing without a time; null would make them known from the beginning."""

TRANSLATIONS: Final[Mapping[str, str]] = {
    "MEDS_DEATH": "DEATH",
    "HOSPITAL_ADMISSION": "ADMISSION",
    "HOSPITAL_DISCHARGE": "DISCHARGE",
    "ICU_ADMISSION": "ICU//IN",
    "ICU_DISCHARGE": "ICU//OUT",
    "ED_REGISTRATION": "ED//IN",
    "ED_OUT": "ED//OUT",
    "ADMISSION": "ADMISSION",
    "DISCHARGE": "DISCHARGE",
}
"""First part of a code to the code here; the parts behind it become the event's text."""

_ICD: Final = re.compile(r"(DIAGNOSIS|PROCEDURE)//ICD//(9|10)//([^/]+)")
_OMOP: Final = re.compile(r"(ICD9CM|ICD10CM|ICD9Proc|ICD10PCS)//?([^/]+)")
_SEX: Final = re.compile(r"(?:SEX|GENDER|Gender|Sex)//?([^/]+)")
_ORDERED: Final = re.compile(r"MEDICATION//START//(.+)")
_GIVEN: Final = re.compile(r"MEDICATION//(?!START//|STOP//)(.+)//Administered")
_ITEM: Final = re.compile(r"LAB//(\d+)(?://(.*))?")
_UNKNOWN: Final = "UNK"
_CHARTED: Final = "chartevents"


@dataclass(frozen=True, slots=True)
class Item:
    """What an item number of MIMIC is called, and the table of its values ("" for laboratory items)."""

    label: str
    table: str = ""


@dataclass(frozen=True, slots=True)
class Translated:
    """A code of the profile, what stood behind it, and whether it is an ICD code that no release lists."""

    code: str
    text: str | None = None
    known: bool = True


def translate(code: str, items: Mapping[str, Item]) -> Translated:
    """Translate one code; what is not certain comes back as it is.

    Args:
        code: as the data set has it.
        items: names of numbered laboratory and charted items; empty keeps their numbers.

    >>> translate("DIAGNOSIS//ICD//10//I5022", {}).code, translate("HOSPITAL_DISCHARGE//HOME", {})
    ('DIAG//ICD10CM//I50.22', Translated(code='DISCHARGE', text='HOME', known=True))
    """
    first, _, rest = code.partition("//")
    if first in TRANSLATIONS:
        return Translated(TRANSLATIONS[first], rest or None)
    if (found := _ORDERED.fullmatch(code)) and found[1] != _UNKNOWN and label(found[1]):
        return Translated(f"MED//{label(found[1])}")
    if (found := _GIVEN.fullmatch(code)) and found[1] != _UNKNOWN and label(found[1]):
        return Translated(f"GIVEN//{label(found[1])}")
    if (found := _ITEM.fullmatch(code)) and found[1] in items:
        return _named_item(items[found[1]], found[2] or "")
    return _translate_vocabulary(code)


def _translate_vocabulary(code: str) -> Translated:
    """Translate a code of ICD or a sex."""
    if found := _ICD.fullmatch(code):
        kind, system = ("DIAG", "CM") if found[1] == "DIAGNOSIS" else ("PROC", "PCS" if found[2] == "10" else "PROC")
        return _icd(kind, f"ICD{found[2]}{system}", found[3], code)
    if found := _OMOP.fullmatch(code):
        return _icd("DIAG" if found[1].endswith("CM") else "PROC", found[1].upper(), found[2], code)
    if (found := _SEX.fullmatch(code)) and found[1].lower() in GENDER:
        return Translated(f"GENDER//{GENDER[found[1].lower()]}")
    return Translated(code)


def _icd(kind: str, system: str, written: str, code: str) -> Translated:
    """Spell an ICD code; one that its system cannot spell keeps the code of the data set."""
    from clinical.codes import normalise

    try:
        normalise(written, system=system)  # type: ignore[arg-type]  # one of the four by construction
    except ValueError:
        return Translated(code, known=False)
    spelled = spell_coded(kind, system, written)
    return Translated(spelled.code, known=spelled.known)


def _named_item(item: Item, unit: str) -> Translated:
    """Name a numbered item."""
    prefix = "VITAL//" if item.table.lower() == _CHARTED else "LAB//"
    return Translated(spell_measured(prefix, item.label, "" if unit == _UNKNOWN else unit))
