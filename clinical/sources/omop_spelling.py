"""How OMOP's concepts become codes: pure functions of the few cells that decide, called once for each combination.

The source's ICD code comes first, because it is what the coders wrote; then the standard concept, then whatever the
source had. A concept that the concept table does not have keeps its number (`DIAG//OMOP//372328`).
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from clinical.profile import DISCHARGE_NOTE, NOTE_PREFIX
from clinical.sources.fhir_events import NOTE_KINDS
from clinical.sources.omop_book import NEVER, ConceptBook
from clinical.sources.vocabularies import VITAL_LOINC, Spelling, label, spell_coded, spell_measured

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "name_visit",
    "read_day",
    "spell_code",
    "spell_group",
    "spell_measurement",
    "spell_named",
    "spell_note",
]

_ICD: Final = frozenset({"ICD10CM", "ICD9CM", "ICD10PCS", "ICD9PROC"})
_SUMMARY: Final = re.compile(r"discharge summar", re.IGNORECASE)
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - event times are naive by the profile


def spell_group(book: ConceptBook, name: str, table: Mapping[str, str], concept: int, source: str | None) -> str:
    """Name a group: by concept, by the source's word, or by the concept's own name; sex is always stated."""
    word = (source or "").strip()
    found = table.get(str(concept)) or (table.get(word.lower()) if name == "gender" else "")
    return found or label(book.find(concept).name or word).upper() or ("UNKNOWN" if name == "gender" else "")


def read_day(year: Any, month: Any, day: Any) -> int:
    """Give a day in microseconds; `NEVER` when there is none or it is not between 1678 and 2261."""
    try:
        date = datetime(year or 0, month or 1, day or 1)  # noqa: DTZ001 - event times are naive by the profile
    except (ValueError, OverflowError):
        return int(NEVER)
    return (date - _EPOCH).days * 86_400_000_000 if 1678 <= date.year <= 2261 else int(NEVER)


def name_visit(book: ConceptBook, concept: Any) -> str:
    """Name a kind of visit."""
    return label(book.find(concept).name) or (f"OMOP {concept}" if concept else "UNKNOWN")


def spell_named(prefix: str, book: ConceptBook, concept: int, source: int, word: str | None) -> Spelling | None:
    """Spell a fact by the name of its concept."""
    name = label(_name(book, concept, source, word))
    return Spelling(prefix + name, _title(book, concept, source)) if name else None


def spell_measurement(
    book: ConceptBook, table: str, concept: int, source: int, word: str | None, unit: int, unit_word: str | None
) -> Spelling | None:
    """Spell a kind of measurement."""
    name = _name(book, concept, source, word)
    if not label(name):
        return None
    loinc = {found.code for found in (book.find(concept), book.find(source)) if found.vocabulary == "LOINC"}
    prefix = "VITAL//" if loinc & VITAL_LOINC else ("LAB//" if table == "measurement" else "OBS//")
    measure = book.find(unit)
    written = measure.code if measure.vocabulary == "UCUM" else measure.name or (unit_word or "")
    return Spelling(spell_measured(prefix, name, written), _title(book, concept, source))


def spell_note(book: ConceptBook, kind: Any, made: Any, title: Any, source: Any) -> str:
    """Recognise a kind of note by LOINC's code, a discharge summary also by its name."""
    concepts = [book.find(kind), book.find(made)]
    for concept in concepts:
        if concept.vocabulary == "LOINC" and concept.code in NOTE_KINDS:
            return NOTE_KINDS[concept.code]
    if any(_SUMMARY.search(name) for name in (*(concept.name for concept in concepts), title or "", source or "")):
        return DISCHARGE_NOTE
    return f"{NOTE_PREFIX}OTHER"


def spell_code(kind: str, book: ConceptBook, concept: int, source: int, word: str | None) -> Spelling | None:
    """The source's ICD code first, then the standard concept, then whatever the source wrote."""
    written, standard = book.find(source), book.find(concept)
    for found in (written if written.vocabulary in _ICD else standard, standard, written):
        if found.code:
            return spell_coded(kind, found.vocabulary, found.code, found.name or None)
    if concept:
        return Spelling(f"{kind}//OMOP//{concept}")
    return Spelling(f"{kind}//SOURCE//{label(word)}") if word and label(word) else None


def _name(book: ConceptBook, concept: int, source: int, word: str | None) -> str:
    """What a row is about, in words."""
    named = book.find(concept).name or book.find(source).name
    return named or (f"OMOP {concept}" if concept else "") or (word or "")


def _title(book: ConceptBook, concept: int, source: int) -> str | None:
    """Vocabulary and code of a named fact, for the list of codes."""
    found = next((one for one in (book.find(concept), book.find(source)) if one.code), None)
    return f"{found.vocabulary} {found.code}" if found else None
