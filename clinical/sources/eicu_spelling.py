"""How eICU-CRD's own words become codes: menus, mixed ICD cells, drugs, and names of vital signs.

Sex, race and vital signs are spelled as the other sources and the profile spell them. Blood pressure keeps the data
set's own name, because it says whether an artery or a cuff was measured.
"""

from __future__ import annotations

import re
from typing import Final

from clinical.sources.spelling import Spelled, Spelling, join_code, spell_icd

__all__ = [
    "APERIODIC",
    "MOST_CODES",
    "PERIODIC",
    "RACES",
    "SEXES",
    "by_path",
    "code_at",
    "spell_balance",
    "spell_charted",
    "spell_drug",
    "spell_uncoded",
]

MOST_CODES: Final = 8
"""Diagnosis codes in one cell; the data set's cells have up to seven."""

RACES: Final = {
    "CAUCASIAN": "WHITE", "AFRICAN AMERICAN": "BLACK/AFRICAN AMERICAN", "HISPANIC": "HISPANIC/LATINO",
    "NATIVE AMERICAN": "AMERICAN INDIAN/ALASKA NATIVE", "OTHER/UNKNOWN": "OTHER",
}  # fmt: skip
SEXES: Final = {"MALE": "M", "FEMALE": "F"}
PERIODIC: Final = {
    "temperature": "Temperature//C", "sao2": "Oxygen saturation//%", "heartrate": "Heart rate//bpm",
    "respiration": "Respiratory rate//1/min", "cvp": "Central venous pressure//mmHg", "etco2": "EtCO2//mmHg",
    "systemicsystolic": "systemicsystolic//mmHg", "systemicdiastolic": "systemicdiastolic//mmHg",
    "systemicmean": "systemicmean//mmHg", "pasystolic": "Pulmonary artery pressure systolic//mmHg",
    "padiastolic": "Pulmonary artery pressure diastolic//mmHg", "pamean": "Pulmonary artery pressure mean//mmHg",
    "st1": "ST segment 1//mm", "st2": "ST segment 2//mm", "st3": "ST segment 3//mm",
    "icp": "Intracranial pressure//mmHg",
}  # fmt: skip
APERIODIC: Final = {
    "noninvasivesystolic": "noninvasivesystolic//mmHg", "noninvasivediastolic": "noninvasivediastolic//mmHg",
    "noninvasivemean": "noninvasivemean//mmHg", "paop": "Pulmonary artery occlusion pressure//mmHg",
    "cardiacoutput": "Cardiac output//L/min", "cardiacinput": "Cardiac index//L/min/m2",
    "svr": "SVR//dynes*sec/cm5", "svri": "SVRI//dynes*sec/cm5/m2", "pvr": "PVR//dynes*sec/cm5",
    "pvri": "PVRI//dynes*sec/cm5/m2",
}  # fmt: skip


def by_path(prefix: str, column: str, *, drop: str) -> Spelling:
    """Spell a fact that is the path of a menu, without the part that all paths begin with."""

    def spell(_: object, cell: str) -> Spelled:
        code = join_code(prefix, cell.strip().removeprefix(drop).replace("|", " > "))
        return Spelled(code if code != prefix else "")

    return Spelling((column,), spell)


def code_at(position: int) -> Spelling:
    """Spell the diagnosis code at one position of a cell such as "428.0, I50.9"."""

    def spell(_: object, cell: str) -> Spelled:
        codes = [code for code in re.split(r"[,;\s]+", cell.strip()) if code]
        if len(codes) > MOST_CODES:
            return Spelled("", refusal=f"icd9code holds more than {MOST_CODES} codes")
        return _spell_mixed(codes[position]) if position < len(codes) else Spelled("")

    return Spelling(("icd9code",), spell)


def _spell_mixed(written: str) -> Spelled:
    """Spell a code whose system is not stated.

    Digits are ICD-9; so are E and V codes of its shape unless only ICD-10-CM lists them. E10.1 has not that shape: to
    take it for E010.1, which ICD-9-CM lists, would make an external cause of diabetes.
    """
    from clinical.codes import is_known

    bare = written.strip().upper()
    if re.fullmatch(r"\d\d(\.\d{1,2})?", bare) and is_known(bare, system="ICD9PROC"):
        return spell_icd(bare, system="ICD9PROC", column="icd9code")
    either = re.fullmatch(r"V\d\d(\.\d{1,2})?|E\d{3}(\.\d)?", bare)
    only_tenth = is_known(bare, system="ICD10CM") and not is_known(bare, system="ICD9CM")
    ninth = bare[:1].isdigit() or (either and not only_tenth)
    return spell_icd(bare, system="ICD9CM" if ninth else "ICD10CM", column="icd9code")


def spell_uncoded(_: object, cell: str, described: str) -> Spelled:
    """Spell a diagnosis without an ICD code by its path."""
    code = join_code("DIAG//EICU//", described.replace("|", " > "))
    return Spelled(code if not cell.strip() and described.strip() else "")


def spell_balance(_: object, path: str, label: str) -> Spelled:
    """Spell intake, output, dialysis or weight by the branch of the flow sheet."""
    branch = next((part for part in ("Intake", "Output", "Dialysis", "Weight") if f"|{part}" in path), "")
    kinds = {"Intake": ("INPUT//", "ml"), "Output": ("OUTPUT//", "ml"), "Dialysis": ("OUTPUT//", "ml")}
    prefix, unit = kinds.get(branch, ("VITAL//", ""))
    return Spelled(join_code(prefix, label, unit) if label.strip() else "")


def spell_charted(_: object, label: str, name: str) -> Spelled:
    """Spell what a nurse charted by the row and, where it says more, the cell of the flow sheet."""
    whole = label if name.strip().lower() == label.strip().lower() else f"{label} {name}"
    return Spelled(join_code("VITAL//", whole) if whole.strip() else "")


def spell_drug(_: object, name: str, number: str) -> Spelled:
    """Spell an ordered drug by its name, or by its number in the HICL where the name is missing."""
    known = name.strip() or (f"HICL {number.strip().removesuffix('.0')}" if number.strip() else "")
    return Spelled(join_code("MED//", known) if known else "")
