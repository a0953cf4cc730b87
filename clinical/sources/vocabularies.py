"""How the standard formats' own names become codes of the profile: one spelling for FHIR, OMOP and MEDS alike.

Two hospitals learn together only where the same fact has the same code. What is certain is translated (ICD by its
vocabulary, sex, the OMB's groups of race and ethnicity, vital signs by LOINC code); everything else keeps the name or
the code that its own vocabulary gives it, behind the profile's prefix, so that nothing is guessed.

Sources: HL7 terminology for FHIR R4 (code systems, vital signs profile); OHDSI standard vocabularies; OMB 1997 groups.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal, cast

from clinical.profile import PREFIX_OF_SYSTEM

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ETHNICITY",
    "GENDER",
    "LARGEST_NUMBER",
    "RACE",
    "VITAL_LOINC",
    "VOCABULARY_OF_URI",
    "Spelling",
    "label",
    "spell_coded",
    "spell_measured",
]

System = Literal["ICD10CM", "ICD10PCS", "ICD9CM", "ICD9PROC"]

LARGEST_NUMBER: Final = 3.4028234663852886e38
"""The largest number of the profile's float32 column."""

VOCABULARY_OF_URI: Final[Mapping[str, str]] = {
    "http://hl7.org/fhir/sid/icd-10-cm": "ICD10CM",
    "urn:oid:2.16.840.1.113883.6.90": "ICD10CM",
    "http://hl7.org/fhir/sid/icd-9-cm": "ICD9",  # diagnoses and procedures alike: the resource decides
    "urn:oid:2.16.840.1.113883.6.103": "ICD9CM",
    "urn:oid:2.16.840.1.113883.6.104": "ICD9PROC",
    "http://www.cms.gov/medicare/coding/icd10": "ICD10PCS",
    "http://hl7.org/fhir/sid/icd-10-pcs": "ICD10PCS",
    "urn:oid:2.16.840.1.113883.6.4": "ICD10PCS",
    "http://hl7.org/fhir/sid/icd-10": "ICD10",
    "urn:oid:2.16.840.1.113883.6.3": "ICD10",
    "http://fhir.de/codesystem/bfarm/icd-10-gm": "ICD10GM",
    "http://snomed.info/sct": "SNOMED",
    "urn:oid:2.16.840.1.113883.6.96": "SNOMED",
    "http://loinc.org": "LOINC",
    "urn:oid:2.16.840.1.113883.6.1": "LOINC",
    "http://www.nlm.nih.gov/research/umls/rxnorm": "RXNORM",
    "http://www.ama-assn.org/go/cpt": "CPT4",
    "https://www.cms.gov/medicare/coding/hcpcsreleasecodesets": "HCPCS",
}
"""FHIR code systems (lower case, without a trailing slash) by the name their codes have here."""

GENDER: Final[Mapping[str, str]] = {
    "f": "F", "female": "F", "8532": "F",
    "m": "M", "male": "M", "8507": "M",
    "other": "OTHER", "8521": "OTHER",
}  # fmt: skip
RACE: Final[Mapping[str, str]] = {
    "2106-3": "WHITE", "8527": "WHITE",
    "2054-5": "BLACK", "8516": "BLACK",
    "2028-9": "ASIAN", "8515": "ASIAN",
    "1002-5": "AMERICAN INDIAN OR ALASKA NATIVE", "8657": "AMERICAN INDIAN OR ALASKA NATIVE",
    "2076-8": "NATIVE HAWAIIAN OR OTHER PACIFIC ISLANDER", "8557": "NATIVE HAWAIIAN OR OTHER PACIFIC ISLANDER",
}  # fmt: skip
ETHNICITY: Final[Mapping[str, str]] = {
    "2135-2": "HISPANIC", "38003563": "HISPANIC",
    "2186-5": "NOT HISPANIC", "38003564": "NOT HISPANIC",
}  # fmt: skip
VITAL_LOINC: Final = frozenset(
    [
        "85353-1",
        "9279-1",
        "8867-4",
        "2708-6",
        "59408-5",
        "8310-5",
        "8302-2",
        "9843-4",
        "29463-7",
        "39156-5",
        "85354-9",
        "8480-6",
        "8462-4",
        "8478-0",
    ]
)
"""LOINC codes of the FHIR R4 vital signs profile (and mean blood pressure, 8478-0)."""

_BLANK: Final = re.compile(r"[\s\x00-\x1f\x7f]+")
_SLASHES: Final = re.compile(r"//+")
_LONGEST: Final = 200
_DIAGNOSES: Final = frozenset({"ICD10CM", "ICD9CM"})
_PROCEDURES: Final = frozenset({"ICD10PCS", "ICD9PROC"})


@dataclass(frozen=True, slots=True)
class Spelling:
    """A code of the profile.

    Attributes:
        code: prefix included.
        title: its description, if there is one.
        icd: whether it is an ICD code, which a coder assigned after the discharge.
        known: false for an ICD code that no release lists; kept all the same.
    """

    code: str
    title: str | None = None
    icd: bool = False
    known: bool = True


@lru_cache(maxsize=1 << 14)
def label(text: str) -> str:
    """Make a name fit to stand between the separators of a code.

    >>> label(" Hemoglobin   A1c//total ")
    'Hemoglobin A1c/total'
    """
    whole = _BLANK.sub(" ", text.encode("utf-8", "replace").decode("utf-8"))
    return _SLASHES.sub("/", whole).strip()[:_LONGEST].rstrip("/ ")


@lru_cache(maxsize=1 << 14)
def spell_measured(prefix: str, name: str, unit: str) -> str:
    """Spell a measurement: the name and the unit, which stays empty where there is none.

    >>> spell_measured("LAB//", "Creatinine", "mg/dL"), spell_measured("LAB//", "INR", "")
    ('LAB//Creatinine//mg/dL', 'LAB//INR//')
    """
    return f"{prefix}{label(name)}//{label(unit)}"


@lru_cache(maxsize=1 << 16)
def spell_coded(kind: str, vocabulary: str, code: str, title: str | None = None) -> Spelling:
    """Spell a diagnosis or procedure of a vocabulary.

    Args:
        kind: "DIAG" or "PROC".
        vocabulary: as `VOCABULARY_OF_URI` or OMOP name it, in capitals; "ICD9" is the ICD-9 of this kind.
        code: as written.
        title: what its own vocabulary calls it.

    Returns:
        The dotted ICD code behind its prefix, or ``DIAG//VOCABULARY//code`` for every other vocabulary.

    >>> spell_coded("DIAG", "ICD10CM", "i5022").code, spell_coded("DIAG", "SNOMED", "91302008").code
    ('DIAG//ICD10CM//I50.22', 'DIAG//SNOMED//91302008')
    """
    system = {"ICD9": "ICD9CM" if kind == "DIAG" else "ICD9PROC"}.get(vocabulary, vocabulary)
    if system in (_DIAGNOSES if kind == "DIAG" else _PROCEDURES):
        return _spell_icd(label(code).upper(), system, title)
    return Spelling(f"{kind}//{label(system)}//{label(code)}", title and label(title))


def _spell_icd(written: str, system: str, told: str | None) -> Spelling:
    """Bring an ICD code to its standard form; what its system cannot spell stays as written."""
    from clinical.codes import is_known, normalise, title

    of = cast("System", system)
    prefix = PREFIX_OF_SYSTEM[system]
    try:
        code = normalise(written, system=of)
    except ValueError:
        return Spelling(prefix + written, told and label(told), icd=True, known=False)
    return Spelling(
        prefix + code, title(code, system=of) or (told and label(told)), icd=True, known=is_known(code, system=of)
    )
