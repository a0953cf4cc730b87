"""eICU-CRD (release 2.0) into one hospital folder of many sites: what each table means.

Adding a table is one entry. Codes and what is refused are listed for users in docs/data.md. Vital signs carry the
names MIMIC-IV gives the same measurements, so that what is learned from one can be tried on the other.

Source: Pollard et al., The eICU Collaborative Research Database, Scientific Data 2018, and the documentation at
https://eicu-crd.mit.edu/.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clinical.sources.cells import parse_numbers
from clinical.sources.eicu_stays import (
    HOSPITALS,
    PATIENT_COLUMNS,
    SITES,
    Sites,
    UnitStays,
    at_offset,
    check_patient,
    join_unit,
    prepare_eicu,
)
from clinical.sources.intake import ExportSource, TableOptions, ingest_exports
from clinical.sources.receipt import TIMES_ASSUMED
from clinical.sources.spans import NEVER, as_integers
from clinical.sources.spelling import Spelled, Spelling, join_code, joined, labelled, measured, spell_icd
from clinical.sources.translation import Context, Fact, Refusal, Rows, TableMap, to_times

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from clinical.sources.receipt import TablesReport

__all__ = ["ingest_eicu", "map_eicu"]

_YEAR: Final = 365.25 * 86_400_000_000
_APACHE_DAY: Final = 86_400_000_000
_OLDEST: Final = 91
_MOST_CODES: Final = 8
_RACES: Final = {
    "CAUCASIAN": "WHITE", "AFRICAN AMERICAN": "BLACK/AFRICAN AMERICAN", "HISPANIC": "HISPANIC/LATINO",
    "NATIVE AMERICAN": "AMERICAN INDIAN/ALASKA NATIVE", "OTHER/UNKNOWN": "OTHER",
}  # fmt: skip
_SEXES: Final = {"MALE": "M", "FEMALE": "F"}
_PERIODIC: Final = {
    "temperature": "Temperature Celsius//°C", "sao2": "O2 saturation pulseoxymetry//%", "heartrate": "Heart Rate//bpm",
    "respiration": "Respiratory Rate//insp/min", "cvp": "Central Venous Pressure//mmHg",
    "etco2": "EtCO2//mmHg", "systemicsystolic": "Arterial Blood Pressure systolic//mmHg",
    "systemicdiastolic": "Arterial Blood Pressure diastolic//mmHg",
    "systemicmean": "Arterial Blood Pressure mean//mmHg",
    "pasystolic": "Pulmonary Artery Pressure systolic//mmHg",
    "padiastolic": "Pulmonary Artery Pressure diastolic//mmHg",
    "pamean": "Pulmonary Artery Pressure mean//mmHg", "st1": "ST Segment 1//mm", "st2": "ST Segment 2//mm",
    "st3": "ST Segment 3//mm", "icp": "Intra Cranial Pressure//mmHg",
}  # fmt: skip
_APERIODIC: Final = {
    "noninvasivesystolic": "Non Invasive Blood Pressure systolic//mmHg",
    "noninvasivediastolic": "Non Invasive Blood Pressure diastolic//mmHg",
    "noninvasivemean": "Non Invasive Blood Pressure mean//mmHg", "paop": "PCWP//mmHg",
    "cardiacoutput": "Cardiac Output//L/min", "cardiacinput": "Cardiac Index//L/min/m2",
    "svr": "SVR//dynes*sec/cm5", "svri": "SVRI//dynes*sec/cm5/m2", "pvr": "PVR//dynes*sec/cm5",
    "pvri": "PVRI//dynes*sec/cm5/m2",
}  # fmt: skip


def _unit_table(
    name: str,
    *facts: Fact,
    identity: str,
    refusals: tuple[Refusal, ...] = (),
    derive: Callable[[Rows, Context], None] = join_unit,
    reads: tuple[str, ...] = (),
    nothing: str = "",
) -> TableMap:
    """Map a table whose rows belong to a unit stay and whose times are minutes from its beginning."""
    offsets = [fact.time.removeprefix("@at:") for fact in facts if fact.time.startswith("@at:")]
    return TableMap(
        name,
        facts,
        requires=("patientunitstayid", *dict.fromkeys(offsets)),
        identity=(identity,),
        refusals=refusals,
        derive=derive,
        reads=(*offsets, *reads),
        subject="@subject",
        admission="@visit",
        stay="patientunitstayid",
        nothing=nothing,
    )


def _vitals(columns: dict[str, str], time: str) -> tuple[Fact, ...]:
    """Map a table with one column for each vital sign."""
    return tuple(Fact(f"VITAL//{name}", time, number=column, needs_number=True) for column, name in columns.items())


def _path(prefix: str, column: str, *, drop: str) -> Spelling:
    """Spell a fact that is the path of a menu, without the part that all paths begin with."""

    def spell(_: object, cell: str) -> Spelled:
        code = join_code(prefix, cell.strip().removeprefix(drop).replace("|", " > "))
        return Spelled(code if code != prefix else "")

    return Spelling((column,), spell)


def _code_at(position: int) -> Spelling:
    """Spell the diagnosis code at one position of a cell such as "428.0, I50.9"."""

    def spell(_: object, cell: str) -> Spelled:
        codes = [code for code in re.split(r"[,;\s]+", cell.strip()) if code]
        if len(codes) > _MOST_CODES:
            return Spelled("", refusal=f"icd9code holds more than {_MOST_CODES} codes")
        return _spell_mixed(codes[position]) if position < len(codes) else Spelled("")

    return Spelling(("icd9code",), spell)


def _spell_mixed(written: str) -> Spelled:
    """Spell a code whose system is not stated: the release that lists it decides, otherwise its shape."""
    from clinical.codes import is_known

    bare = written.strip().upper()
    if re.fullmatch(r"\d\d(\.\d{1,2})?", bare) and is_known(bare, system="ICD9PROC"):
        return spell_icd(bare, system="ICD9PROC", column="icd9code")
    tenth_known, ninth_known = is_known(bare, system="ICD10CM"), is_known(bare, system="ICD9CM")
    if tenth_known != ninth_known:
        return spell_icd(bare, system="ICD10CM" if tenth_known else "ICD9CM", column="icd9code")
    ninth = re.fullmatch(r"\d{3}(\.\d{1,2})?|V\d\d(\.\d{1,2})?|E\d{3}(\.\d)?", bare)
    return spell_icd(bare, system="ICD9CM" if ninth else "ICD10CM", column="icd9code")


def _spell_uncoded(_: object, cell: str, described: str) -> Spelled:
    """Spell a diagnosis without an ICD code by its path."""
    code = join_code("DIAG//EICU//", described.replace("|", " > "))
    return Spelled(code if not cell.strip() and described.strip() else "")


def _spell_balance(_: object, path: str, label: str) -> Spelled:
    """Spell intake, output, dialysis or weight by the branch of the flow sheet."""
    branch = next((part for part in ("Intake", "Output", "Dialysis", "Weight") if f"|{part}" in path), "")
    kinds = {"Intake": ("INPUT//", "ml"), "Output": ("OUTPUT//", "ml"), "Dialysis": ("OUTPUT//", "ml")}
    prefix, unit = kinds.get(branch, ("VITAL//", ""))
    return Spelled(join_code(prefix, label, unit) if label.strip() else "")


def _spell_charted(_: object, label: str, name: str) -> Spelled:
    """Spell what a nurse charted by the row and, where it says more, the cell of the flow sheet."""
    whole = label if name.strip().lower() == label.strip().lower() else f"{label} {name}"
    return Spelled(join_code("VITAL//", whole) if whole.strip() else "")


def _spell_drug(_: object, name: str, number: str) -> Spelled:
    """Spell an ordered drug by its name, or by its number in the HICL where the name is missing."""
    known = name.strip() or (f"HICL {number.strip().removesuffix('.0')}" if number.strip() else "")
    return Spelled(join_code("MED//", known) if known else "")


def _mixed(column: str, rows: Rows, context: Context) -> None:
    """Add @number where a cell is one; what is none stays text."""
    join_unit(rows, context)
    rows.put("@number", parse_numbers(rows.text(column)).values)


def _ordered(rows: Rows, context: Context) -> None:
    """Add when a drug was known to be given: from its start, and not before its order was entered."""
    join_unit(rows, context)
    started = at_offset(rows, context, "drugstartoffset")
    rows.put("@given", pc.max_element_wise(started, at_offset(rows, context, "drugorderoffset")))


def _scores(rows: Rows, context: Context) -> None:
    """Add when a score of the first day is known; minus one stands for none."""
    join_unit(rows, context)
    assert isinstance(context.patients, UnitStays)
    at = np.maximum(context.patients.find(as_integers(rows.integer("patientunitstayid"))), 0)
    rows.put("@day_over", to_times(context.patients.anchor[at] + _APACHE_DAY))
    for name in ("apachescore", "acutephysiologyscore"):
        score = rows.number(name)
        rows.put(f"@{name}", pc.if_else(pc.less(score, 0), pa.scalar(None, pa.float64()), score))


def _cultures(rows: Rows, context: Context) -> None:
    """Add when the result of a culture was known: nobody wrote it down, but it was by the end of the visit."""
    join_unit(rows, context)
    taken, left = rows.time("@at:culturetakenoffset"), rows.text("@left")
    known = pc.if_else(pc.is_valid(left), pc.max_element_wise(taken, left), pa.scalar(None, pa.timestamp("us")))
    rows.put("@stored", known)


def _patients(rows: Rows, context: Context) -> None:
    """Add the times of the visit, birth and death."""
    check_patient(rows, context)
    if not isinstance(context.patients, UnitStays):
        return
    stays = context.patients
    at = np.maximum(stays.find(as_integers(rows.integer("patientunitstayid"))), 0)
    minute = 60_000_000
    admit, leave, out = (
        as_integers(rows.integer(name))
        for name in ("hospitaladmitoffset", "hospitaldischargeoffset", "unitdischargeoffset")
    )
    anchor = stays.anchor[at]
    admitted, left, unit_left = (
        np.where(offset == NEVER, NEVER, anchor + np.clip(offset, -(10**8), 10**8) * minute)
        for offset in (admit, leave, out)
    )
    rows.put("@admitted", to_times(admitted))
    rows.put("@in", to_times(anchor))
    rows.put("@out", to_times(unit_left))
    died = pc.fill_null(pc.equal(pc.utf8_lower(rows.text("hospitaldischargestatus")), "expired"), False)
    rows.put("@died", to_times(np.where(died.to_numpy(zero_copy_only=False), left, NEVER)))
    rows.put("@birth", to_times(_births(rows, np.where(stays.first[at], admitted, NEVER))))


def _births(rows: Rows, admitted: np.ndarray) -> np.ndarray:
    """Give birth from the age at the first visit; "> 89" is taken as 91, as MIMIC-IV writes it."""
    cells = pc.utf8_trim_whitespace(rows.text("age"))
    hidden = pc.fill_null(pc.match_substring_regex(cells, r"^>\s*89$"), False)
    rows.put("@age_text", pc.if_else(hidden, "91", cells))
    rows.repair(hidden.to_numpy(zero_copy_only=False), "age hidden above 89, taken as 91")
    parsed = parse_numbers(rows.text("@age_text"))
    for reason, wrong in parsed.refused.items():
        rows.refuse(wrong, f"age {reason}")
    years = pc.fill_null(parsed.values, np.nan).to_numpy(zero_copy_only=False)
    rows.refuse((years < 0) | (years > 130), "age absurd")
    known = ~np.isnan(years) & (admitted != NEVER)
    return np.where(known, admitted - (np.clip(np.where(known, years, 0), 0, 130) * _YEAR).astype(np.int64), NEVER)


_PATIENT: Final = TableMap(
    "patient",
    (
        Fact("ICU//IN", "@in"),
        Fact(labelled("ICU_UNIT//", "unittype"), "@in"),
        Fact(labelled("ICU_STAY//", "unitstaytype"), "@in"),
        Fact(labelled("ICU_FROM//", "unitadmitsource"), "@in"),
        Fact("VITAL//Height//cm", "@in", number="admissionheight", needs_number=True),
        Fact("VITAL//Admission Weight//kg", "@in", number="admissionweight", needs_number=True),
        Fact("VITAL//Discharge Weight//kg", "@out", number="dischargeweight", needs_number=True),
        Fact("ICU//OUT", "@out"),
        Fact(labelled("GENDER//", "gender", upper=True, translation=_SEXES), "", belongs="patient", once=True),
        Fact(labelled("RACE//", "ethnicity", upper=True, translation=_RACES), "", belongs="patient", once=True),
        Fact("MEDS_BIRTH", "@birth", belongs="patient", once=True),
        Fact("ADMISSION", "@admitted", belongs="admission", once=True),
        Fact(labelled("VISIT//FROM//", "hospitaladmitsource", upper=True), "@admitted", belongs="admission", once=True),
        Fact("DISCHARGE", "@left", belongs="admission", once=True),
        Fact(labelled("VISIT//TO//", "hospitaldischargelocation", upper=True), "@left", belongs="admission", once=True),
        Fact("DEATH", "@died", belongs="patient", once=True),
    ),
    requires=PATIENT_COLUMNS[:5],
    reads=(*PATIENT_COLUMNS, "age", "unitdischargeoffset", "hospitaldischargestatus"),
    derive=_patients,
    subject="@subject",
    admission="@visit",
    stay="patientunitstayid",
)
_DIAGNOSIS: Final = _unit_table(
    "diagnosis",
    *(Fact(_code_at(position), "@at:diagnosisoffset") for position in range(_MOST_CODES)),
    Fact(Spelling(("icd9code", "diagnosisstring"), _spell_uncoded), "@at:diagnosisoffset"),
    identity="diagnosisid",
    nothing="no icd9code and no diagnosisstring",
)
_TABLES: Final = (
    _PATIENT,
    _unit_table(
        "admissiondx",
        Fact(_path("REASON//", "admitdxpath", drop="admission diagnosis|"), "@at:admitdxenteredoffset"),
        identity="admissiondxid",
    ),
    _unit_table(
        "pasthistory",
        Fact(_path("HISTORY//", "pasthistorypath", drop="notes/Progress Notes/"), "@at:pasthistoryenteredoffset"),
        identity="pasthistoryid",
    ),
    _unit_table(
        "allergy", Fact(labelled("ALLERGY//", "allergyname"), "@at:allergyenteredoffset"), identity="allergyid"
    ),
    _unit_table(
        "admissiondrug",
        Fact(labelled("HOME_MED//", "drugname"), "@at:drugenteredoffset"),
        identity="admissiondrugid",
    ),
    _DIAGNOSIS,
    _unit_table(
        "lab",
        Fact(
            measured("LAB//", "labname", "labmeasurenamesystem"),
            "@at:labresultoffset", number="labresult", text="labresulttext",
        ),
        identity="labid",
    ),
    _unit_table(
        "microlab",
        Fact(labelled("MICRO//TAKEN//", "culturesite"), "@at:culturetakenoffset", once=True),
        Fact(joined("MICRO//FOUND//", "culturesite", "organism"), "@stored", once=True),
        Fact(joined("MICRO//TESTED//", "organism", "antibiotic", "sensitivitylevel"), "@stored", once=True),
        identity="microlabid",
        derive=_cultures,
    ),
    _unit_table(
        "medication",
        Fact(Spelling(("drugname", "drughiclseqno"), _spell_drug), "@given"),
        identity="medicationid",
        refusals=(Refusal("drugordercancelled", ("yes",), "order cancelled"),),
        derive=_ordered,
        reads=("drugstartoffset", "drugorderoffset"),
    ),
    _unit_table(
        "infusiondrug",
        Fact(labelled("INFUSION//", "drugname"), "@at:infusionoffset", number="@number", text="drugrate"),
        identity="infusiondrugid",
        derive=partial(_mixed, "drugrate"),
    ),
    _unit_table(
        "treatment",
        Fact(_path("TREATMENT//", "treatmentstring", drop=""), "@at:treatmentoffset"),
        identity="treatmentid",
    ),
    _unit_table(
        "intakeoutput",
        Fact(
            Spelling(("cellpath", "celllabel"), _spell_balance),
            "@at:intakeoutputoffset", number="cellvaluenumeric", text="cellvaluetext",
        ),
        identity="intakeoutputid",
    ),
    _unit_table(
        "apachepatientresult",
        Fact(joined("SCORE//APACHE//", "apacheversion"), "@day_over", number="@apachescore", needs_number=True),
        Fact(joined("SCORE//APS//", "apacheversion"), "@day_over", number="@acutephysiologyscore", needs_number=True),
        identity="apachepatientresultsid",
        derive=_scores,
        reads=("apachescore", "acutephysiologyscore"),
        nothing="no score",
    ),
    _unit_table(
        "vitalaperiodic", *_vitals(_APERIODIC, "@at:observationoffset"),
        identity="vitalaperiodicid", nothing="no value in any column",
    ),
    _unit_table(
        "vitalperiodic", *_vitals(_PERIODIC, "@at:observationoffset"),
        identity="vitalperiodicid", nothing="no value in any column",
    ),
    _unit_table(
        "nursecharting",
        Fact(
            Spelling(("nursingchartcelltypevallabel", "nursingchartcelltypevalname"), _spell_charted),
            "@at:nursingchartoffset", number="@number", text="nursingchartvalue",
        ),
        identity="nursingchartid",
        derive=partial(_mixed, "nursingchartvalue"),
    ),
    _unit_table(
        "respiratorycharting",
        Fact(
            labelled("VITAL//", "respchartvaluelabel"), "@at:respchartoffset", number="@number", text="respchartvalue"
        ),
        identity="respchartid",
        derive=partial(_mixed, "respchartvalue"),
    ),
)  # fmt: skip


def map_eicu(*, sites: Sites = "hospital") -> ExportSource:
    """Say what eICU-CRD's tables mean, its sites being hospitals or groups of them by region and size."""
    if sites not in SITES:
        raise ValueError(f"sites={sites!r} is unknown; write {' or '.join(SITES)}")
    return ExportSource(
        name=f"eICU-CRD ({TIMES_ASSUMED})",
        times="assumed: dates are ours (a patient's first visit of a year begins on 1 January, the next one the day "
        "after it ended); within a visit minutes and times of day are as given",
        tables=_TABLES,
        dictionaries=(HOSPITALS,),
        essential=("patient", "hospital") if sites == "region-size" else ("patient",),
        prepare=partial(prepare_eicu, patient=_PATIENT, sites=sites),
    )


def ingest_eicu(
    src: Path,
    out: Path,
    *,
    options: TableOptions | None = None,
    sites: Sites = "hospital",
    progress: Callable[[int, int], None] | None = None,
) -> TablesReport:
    """Read an eICU-CRD export and write it as one hospital folder whose events name their site.

    Args:
        src: the folder of the tables.
        out: the folder to write; absent or empty.
        options: as `ingest_exports`.
        sites: "hospital": each hospital is a site; "region-size": hospitals of one region and size class are one.
        progress: as `ingest_exports`.

    Returns, Raises, Guarantee: as `clinical.sources.intake.ingest_exports`.
    """
    return ingest_exports(map_eicu(sites=sites), src, out, options=options, progress=progress)
