"""eICU-CRD (release 2.0) into one hospital folder of many sites: what each table means.

Adding a table is one entry. Codes and what is refused are listed for users in docs/data.md.

Source: Pollard et al., The eICU Collaborative Research Database, Scientific Data 2018, and the documentation at
https://eicu-crd.mit.edu/.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clinical.sources.cells import parse_numbers
from clinical.sources.eicu_spelling import (
    APERIODIC,
    MOST_CODES,
    PERIODIC,
    RACES,
    SEXES,
    by_path,
    code_at,
    spell_balance,
    spell_charted,
    spell_drug,
    spell_uncoded,
)
from clinical.sources.eicu_stays import (
    HOSPITALS,
    PATIENT_COLUMNS,
    SITES,
    Sites,
    UnitStays,
    at_offset,
    check_patient,
    expired,
    join_unit,
    prepare_eicu,
)
from clinical.sources.intake import ExportSource, TableOptions, ingest_exports
from clinical.sources.receipt import TIMES_ASSUMED
from clinical.sources.spans import NEVER, as_integers, to_times
from clinical.sources.spelling import Spelling, joined, labelled, measured
from clinical.sources.table_maps import Context, Fact, Refusal, TableMap

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from clinical.sources.receipt import TablesReport
    from clinical.sources.translation import Rows

__all__ = ["ingest_eicu", "map_eicu"]

_YEAR: Final = 365.25 * 86_400_000_000
_APACHE_DAY: Final = 86_400_000_000
_OLDEST: Final = 91


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
    rows.put("@died", to_times(np.where(expired(rows), left, NEVER)))
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
        Fact("VITAL//Weight//kg", "@in", number="admissionweight", needs_number=True),
        Fact("VITAL//Discharge weight//kg", "@out", number="dischargeweight", needs_number=True),
        Fact("ICU//OUT", "@out"),
        Fact(labelled("GENDER//", "gender", upper=True, translation=SEXES), "", belongs="patient", once=True),
        Fact(labelled("RACE//", "ethnicity", upper=True, translation=RACES), "", belongs="patient", once=True),
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
    *(Fact(code_at(position), "@at:diagnosisoffset") for position in range(MOST_CODES)),
    Fact(Spelling(("icd9code", "diagnosisstring"), spell_uncoded), "@at:diagnosisoffset"),
    identity="diagnosisid",
    nothing="no icd9code and no diagnosisstring",
)
_TABLES: Final = (
    _PATIENT,
    _unit_table(
        "admissiondx",
        Fact(by_path("REASON//", "admitdxpath", drop="admission diagnosis|"), "@at:admitdxenteredoffset"),
        identity="admissiondxid",
    ),
    _unit_table(
        "pasthistory",
        Fact(by_path("HISTORY//", "pasthistorypath", drop="notes/Progress Notes/"), "@at:pasthistoryenteredoffset"),
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
        Fact(Spelling(("drugname", "drughiclseqno"), spell_drug), "@given"),
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
        Fact(by_path("TREATMENT//", "treatmentstring", drop=""), "@at:treatmentoffset"),
        identity="treatmentid",
    ),
    _unit_table(
        "intakeoutput",
        Fact(
            Spelling(("cellpath", "celllabel"), spell_balance),
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
        "vitalaperiodic", *_vitals(APERIODIC, "@at:observationoffset"),
        identity="vitalaperiodicid", nothing="no value in any column",
    ),
    _unit_table(
        "vitalperiodic", *_vitals(PERIODIC, "@at:observationoffset"),
        identity="vitalperiodicid", nothing="no value in any column",
    ),
    _unit_table(
        "nursecharting",
        Fact(
            Spelling(("nursingchartcelltypevallabel", "nursingchartcelltypevalname"), spell_charted),
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
