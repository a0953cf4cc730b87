"""MIMIC-III (release 1.4) into one hospital: what each table means.

Adding a table is one entry. Codes and what is refused are listed for users in docs/data.md.

Source: Johnson et al., MIMIC-III, a freely accessible critical care database, Scientific Data 2016, and the
documentation at https://mimic.mit.edu/docs/iii/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from clinical.profile import DISCHARGE_NOTE
from clinical.sources.intake import ExportSource, TableOptions, ingest_exports
from clinical.sources.mimic import (
    AT_DISCHARGE,
    D_ITEMS,
    D_LABITEMS,
    Patients,
    at_discharge,
    discharge_note,
    icd,
    infused,
    map_admissions,
    map_drgs,
    map_services,
    map_stays,
    prepare_mimic,
    put_day_or_time,
    register_death,
)
from clinical.sources.spans import NEVER, as_integers, as_times, to_times
from clinical.sources.spelling import joined, labelled, measured, named
from clinical.sources.table_maps import Context, Fact, Refusal, TableMap

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from clinical.sources.intake import Reading
    from clinical.sources.receipt import TablesReport
    from clinical.sources.translation import Rows

__all__ = ["MIMIC_III", "ingest_mimic_iii"]

_YEAR: Final = 365.25 * 86_400_000_000
_HIDDEN_AGE: Final = 150
_OLDEST: Final = 91
_WRONG: Final = Refusal("error", ("1",), "marked as an error")


def _births(rows: Rows, context: Context) -> None:
    """Add birth and death; the release moves the birth of those above 89 three centuries back."""
    register_death(rows, context)
    assert isinstance(context.patients, Patients)
    born = as_times(rows.moment("dob"))
    subject = as_integers(rows.integer("subject_id"))
    known = context.patients.admitted
    if len(known):
        at = np.minimum(np.searchsorted(known, subject), len(known) - 1)
        first = np.where(known[at] == subject, context.patients.first[at], NEVER)
        hidden = (born != NEVER) & (first != NEVER) & ((first / _YEAR - born / _YEAR) > _HIDDEN_AGE)
        born = np.where(hidden, first - int(_OLDEST * _YEAR), born)
        rows.repair(hidden, "age hidden above 89, taken as 91")
    rows.put("@birth", to_times(born))


def _culture_times(rows: Rows, context: Context) -> None:
    """Add when a specimen was taken; when its result was known is not recorded, but it was by discharge."""
    put_day_or_time(rows, "@taken", "charttime", "chartdate")
    taken = as_times(rows.text("@taken"))
    spans = context.admissions
    at = spans.find(as_integers(rows.integer("hadm_id")))
    ended = np.where(at >= 0, spans.end[np.maximum(at, 0)], NEVER) if len(spans.number) else np.full(len(rows), NEVER)
    rows.put("@stored", to_times(np.where(ended == NEVER, NEVER, np.maximum(ended, taken))))


_ADMISSIONS: Final = map_admissions(race="ethnicity", identity=("row_id",))
_STAYS: Final = map_stays(stay="icustay_id", identity=("row_id",))
_TABLES: Final = (
    TableMap(
        "patients",
        (
            Fact(labelled("GENDER//", "gender", upper=True), "", belongs="patient"),
            Fact("MEDS_BIRTH", "@birth", belongs="patient"),
            Fact("DEATH", "@death", belongs="patient"),
        ),
        requires=("subject_id", "gender", "dob"),
        identity=("row_id",),
        derive=_births,
        reads=("dob", "dod"),
        admission="",
        nothing="no gender, birth or death",
    ),
    _ADMISSIONS,
    TableMap(
        "transfers",
        (Fact(labelled("WARD//", "curr_careunit"), "intime"),),
        requires=("subject_id", "curr_careunit", "intime"),
        identity=("row_id",),
        refusals=(Refusal("eventtype", ("discharge",), "a discharge, which admissions has"),),
        stay="icustay_id",
    ),
    map_services(identity=("row_id",)),
    _STAYS,
    TableMap(
        "diagnoses_icd",
        (Fact(icd("icd9_code", systems={"": "ICD9CM"}), AT_DISCHARGE),),
        requires=("subject_id", "hadm_id", "icd9_code"),
        identity=("row_id",),
        derive=at_discharge,
    ),
    TableMap(
        "procedures_icd",
        (Fact(icd("icd9_code", systems={"": "ICD9PROC"}), AT_DISCHARGE),),
        requires=("subject_id", "hadm_id", "icd9_code"),
        identity=("row_id",),
        derive=at_discharge,
    ),
    map_drgs(identity=("row_id",)),
    TableMap(
        "cptevents",
        (Fact(joined("PROC//CPT//", "cpt_cd"), AT_DISCHARGE),),
        requires=("subject_id", "hadm_id", "cpt_cd"),
        identity=("row_id",),
        derive=at_discharge,
    ),
    TableMap(
        "labevents",
        (
            Fact(
                measured("LAB//", "itemid", "valueuom", names="d_labitems"),
                "charttime", number="valuenum", text="value",
            ),
        ),
        requires=("subject_id", "itemid", "charttime", "valuenum"),
        identity=("row_id",),
        locate=True,
    ),
    TableMap(
        "microbiologyevents",
        (
            Fact(labelled("MICRO//TAKEN//", "spec_type_desc"), "@taken", once=True),
            Fact(joined("MICRO//FOUND//", "spec_type_desc", "org_name"), "@stored", once=True),
            Fact(joined("MICRO//TESTED//", "org_name", "ab_name", "interpretation"), "@stored", once=True),
        ),
        requires=("subject_id", "spec_type_desc", "charttime"),
        derive=_culture_times,
        reads=("chartdate", "charttime"),
    ),
    TableMap(
        "prescriptions",
        (Fact(labelled("MED//", "drug"), "startdate"),),
        requires=("subject_id", "drug", "startdate"),
        identity=("row_id",),
        dates=("startdate",),
        stay="icustay_id",
    ),
    TableMap(
        "chartevents",
        (
            Fact(
                measured("VITAL//", "itemid", "valueuom", names="d_items"),
                "charttime", number="valuenum", text="value",
            ),
        ),
        requires=("subject_id", "itemid", "charttime", "valuenum"),
        identity=("row_id",),
        refusals=(_WRONG,),
        stay="icustay_id",
        locate=True,
    ),
    TableMap(
        "outputevents",
        (Fact(measured("OUTPUT//", "itemid", "valueuom", names="d_items"), "charttime", number="value"),),
        requires=("subject_id", "itemid", "charttime", "value"),
        identity=("row_id",),
        refusals=(Refusal("iserror", ("1",), "marked as an error"),),
        stay="icustay_id",
    ),
    TableMap(
        "inputevents_mv",
        infused(begin="starttime", end="endtime"),
        requires=("subject_id", "itemid", "starttime", "endtime", "amount"),
        identity=("row_id",),
        refusals=(Refusal("statusdescription", ("rewritten",), "rewritten by a later row"),),
        stay="icustay_id",
        nothing="no rate and no amount",
    ),
    TableMap(
        "inputevents_cv",
        infused(begin="charttime", end="charttime"),
        requires=("subject_id", "itemid", "charttime", "amount"),
        identity=("row_id",),
        stay="icustay_id",
        nothing="no rate and no amount",
    ),
    TableMap(
        "procedureevents_mv",
        (Fact(named("TREATMENT//", "itemid", names="d_items"), "starttime"),),
        requires=("subject_id", "itemid", "starttime"),
        identity=("row_id",),
        stay="icustay_id",
    ),
    TableMap(
        "noteevents",
        (Fact(DISCHARGE_NOTE, AT_DISCHARGE, text="text"),),
        requires=("subject_id", "hadm_id", "category", "text"),
        identity=("row_id",),
        refusals=(Refusal("iserror", ("1",), "marked as an error"),),
        only=Refusal("category", ("discharge summary",), "category other than discharge summary"),
        derive=discharge_note,
        reads=("chartdate", "charttime", "storetime"),
    ),
)  # fmt: skip


def _prepare(reading: Reading) -> Context:
    """Read admissions and stays ahead."""
    return prepare_mimic(reading, _ADMISSIONS, _STAYS)


MIMIC_III: Final = ExportSource(
    name="MIMIC-III",
    times="as given; days without a time of day stand at their end",
    tables=_TABLES,
    dictionaries=(D_LABITEMS, D_ITEMS),
    essential=("patients", "admissions"),
    prepare=_prepare,
)


def ingest_mimic_iii(
    src: Path,
    out: Path,
    *,
    options: TableOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> TablesReport:
    """Read a MIMIC-III export and write it as one hospital.

    Args, Returns, Raises, Guarantee: as `clinical.sources.intake.ingest_exports`.
    """
    return ingest_exports(MIMIC_III, src, out, options=options, progress=progress)
