"""Whether diagnosis and procedure codes are spelled as their system spells them, and which systems there are."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from clinical.codes import SYSTEMS, descendants, is_known, normalise
from clinical.doctor.findings import Check, Count
from clinical.doctor.shard import NEVER
from clinical.profile import PREFIX_OF_SYSTEM

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from clinical.codes import System
    from clinical.doctor.findings import Counts
    from clinical.doctor.hospital import Hospital
    from clinical.doctor.shard import Shard

#: First parts of codes that a source of ours writes (docs/data.md).
KNOWN_PREFIXES: Final = frozenset((
    "ADMISSION", "AGE", "ALLERGY", "DEATH", "DIAG", "DISCHARGE", "DRG", "ED", "ETHNICITY", "GENDER", "GIVEN",
    "HISTORY", "HOME_MED", "ICU", "ICU_FROM", "ICU_STAY", "ICU_UNIT", "INFUSION", "INPUT", "INSURANCE", "LAB",
    "LANGUAGE", "MARITAL", "MED", "MEDS_BIRTH", "MICRO", "NOTE", "OBS", "OBSERVATION_PERIOD", "OUTPUT", "PROC",
    "RACE", "REASON", "SCORE", "SERVICE", "TREATMENT", "VISIT", "VITAL", "WARD",
))  # fmt: skip
_TENTH: Final = 0.1


def icd_rows(shard: Shard) -> NDArray[np.bool_]:
    """Tell which events are ICD diagnoses or procedures: bool [R]."""
    return shard.starting(*PREFIX_OF_SYSTEM.values())


def _each_system(shard: Shard, is_so: Callable[[str, System], bool]) -> Counts:
    """Count the events of each system whose code is so."""
    counts: Counts = {}
    for system in SYSTEMS:
        prefix = PREFIX_OF_SYSTEM[system]
        chosen = shard.where(
            code.startswith(prefix) and is_so(code.removeprefix(prefix), system) for code in shard.codes
        )
        counts |= shard.count(chosen, prefix.removesuffix("//"))
    return counts


@lru_cache(maxsize=1 << 17)
def _standard(code: str, system: str) -> str | None:
    """The standard spelling; None when it cannot be a code of the system."""
    try:
        return normalise(code, system=cast("System", system))
    except ValueError:
        return None


def _impossible(shard: Shard) -> Counts:
    return _each_system(shard, lambda code, system: _standard(code, system) is None)


IMPOSSIBLE = Check(
    "code-impossible", "wrong", "rows",
    "What stands behind the system's prefix cannot be a code of that system, so it is another system's or a torn cell.",
    "Give each code the system it is of; the source has the version beside the code.",
    shard=_impossible,
)  # fmt: skip


def _undotted(shard: Shard) -> Counts:
    def is_so(code: str, system: System) -> bool:
        standard = _standard(code, system)
        return standard is not None and code != standard and _bare(code) == _bare(standard) and "." not in code

    return _each_system(shard, lambda code, system: is_so(code, system) and "." in (_standard(code, system) or ""))


UNDOTTED = Check(
    "code-undotted", "doubtful", "rows",
    "Codes stand without their dot, so the same diagnosis counts as two wherever codes are compared as text.",
    "Ingest again from the source; every ingest writes the dotted form.",
    shard=_undotted,
)  # fmt: skip


def _lost_zero(shard: Shard) -> Counts:
    def is_so(code: str, system: System) -> bool:
        standard = _standard(code, system)
        return standard is not None and len(_bare(standard)) > len(_bare(code))

    return _each_system(shard, is_so)


LOST_ZERO = Check(
    "code-lost-zero", "doubtful", "rows",
    "Codes have lost their leading zeros, as a spreadsheet or a number column does it (86 for 086).",
    "Export codes as text, or ingest again: where one reading is left, zeros are put back and counted.",
    shard=_lost_zero,
)  # fmt: skip


def _ambiguous_zero(shard: Shard) -> Counts:
    def is_so(code: str, system: System) -> bool:
        standard = _standard(code, system)
        if standard is None or "." in code or not system.startswith("ICD9") or is_known(standard, system=system):
            return False
        return bool(descendants(standard, system=system)) and is_known("0" + code, system=system)

    return _each_system(shard, is_so)


AMBIGUOUS_ZERO = Check(
    "code-zero-ambiguous", "doubtful", "rows",
    "Codes are a category that nobody bills as they stand, and a billable code with a zero in front (389, 038.9).",
    "Look up in the source whether codes are text there; export them as text.",
    shard=_ambiguous_zero,
)  # fmt: skip


def _misspelt(shard: Shard) -> Counts:
    def is_so(code: str, system: System) -> bool:
        standard = _standard(code, system)
        return standard is not None and code != code.strip().upper()

    return _each_system(shard, is_so)


MISSPELT = Check(
    "code-misspelt", "doubtful", "rows",
    "Codes have small letters or spaces around them, so one diagnosis counts as two where codes are compared as text.",
    "Ingest again from the source; every ingest writes the standard form.",
    shard=_misspelt,
)  # fmt: skip


def _unreleased(shard: Shard) -> Counts:
    def is_so(code: str, system: System) -> bool:
        return _standard(code, system) is not None and not is_known(code, system=system)

    return _each_system(shard, is_so)


UNRELEASED = Check(
    "code-in-no-release", "note", "rows",
    "Codes are well formed and not billable in the release known here: categories, retired or national codes.",
    "Nothing, if the hospital codes like that; otherwise look up the release it codes by.",
    shard=_unreleased,
)  # fmt: skip


def _mixed_admissions(shard: Shard) -> Counts:
    spans = shard.admissions
    both = np.ones(len(spans.number), bool)
    for system in ("ICD9CM", "ICD10CM"):
        rows = shard.starting(PREFIX_OF_SYSTEM[system]) & (spans.of_row >= 0)
        both &= np.bincount(spans.of_row[rows], minlength=len(both)) > 0
    number = int(both.sum())
    return {"DIAG//ICD9CM and DIAG//ICD10CM": Count(number, len(np.unique(spans.patient[both])))} if number else {}


MIXED_ADMISSION = Check(
    "icd-mixed-in-admission", "note", "admissions",
    "One admission has diagnoses of both ICD-9 and ICD-10, and a study of one label space sees only its own part, "
    "unless each diagnosis stands in both.",
    "Nothing, if the source states each finding in both; otherwise set task.translate-icd9.",
    shard=_mixed_admissions,
)  # fmt: skip


def coded_years(shard: Shard) -> Counter[tuple[int, str]]:
    """Count admissions by the year of their end and the system of their diagnoses."""
    spans = shard.admissions
    years = spans.end.astype("datetime64[us]").astype("datetime64[Y]").astype(np.int64) + 1970
    counts: Counter[tuple[int, str]] = Counter()
    for system in ("ICD9CM", "ICD10CM"):
        rows = shard.starting(PREFIX_OF_SYSTEM[system]) & (spans.of_row >= 0)
        coded = np.bincount(spans.of_row[rows], minlength=len(years)) > 0
        for year, number in zip(*np.unique(years[coded & (spans.end != NEVER)], return_counts=True), strict=True):
            counts[int(year), system] += int(number)
    return counts


def _mixed_eras(_: Hospital, parts: list[Counter[tuple[int, str]]]) -> Counts | None:
    counts: Counter[tuple[int, str]] = sum(parts, Counter())
    if not counts:
        return None
    mixed = 0
    for year in {year for year, _ in counts}:
        nine, ten = counts[year, "ICD9CM"], counts[year, "ICD10CM"]
        mixed += min(nine, ten) >= _TENTH * (nine + ten)
    return {"DIAG//ICD9CM and DIAG//ICD10CM": Count(mixed)} if mixed > 1 else {}


MIXED_ERA = Check(
    "icd-mixed-over-years", "note", "years",
    "ICD-9 and ICD-10 are both in use over several years, each in a tenth of the admissions or more, so no date "
    "divides the two label spaces.",
    "Nothing, if dates are shifted or both are stated; otherwise look for codes filed under the wrong version.",
    shard=coded_years, hospital=_mixed_eras,
)  # fmt: skip


def _unknown_prefix(shard: Shard) -> Counts:
    return shard.count(shard.where(code.partition("//")[0] not in KNOWN_PREFIXES for code in shard.codes), "code")


UNKNOWN_PREFIX = Check(
    "code-prefix-unknown", "note", "rows",
    "The first part of the code is none that the profile gives a meaning, so no task sees these events.",
    "Nothing, if no study needs them; otherwise map them to the profile's prefixes (docs/data.md).",
    shard=_unknown_prefix,
)  # fmt: skip


def _foreign(shard: Shard) -> Counts:
    rows = shard.starting("DIAG//") & ~icd_rows(shard)
    return shard.count(rows, "DIAG//")


FOREIGN = Check(
    "diagnosis-not-icd", "note", "rows",
    "Diagnoses are in another vocabulary than ICD-10-CM or ICD-9-CM, and ICD coding does not see them.",
    "Nothing, if the hospital codes in it; otherwise bring in the source's ICD codes.",
    shard=_foreign,
)  # fmt: skip


def _bare(code: str) -> str:
    return code.strip().upper().replace(".", "")
