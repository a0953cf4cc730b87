"""MIMIC-IV (hosp, icu and note modules, releases 1.0 to 3.1) into one hospital: what each table means.

Adding a table is one entry. Codes and what is refused are listed for users in docs/data.md.

Source: Johnson et al., MIMIC-IV, a freely accessible electronic health record dataset, Scientific Data 2023, and the
documentation at https://mimic.mit.edu/docs/iv/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clinical.profile import DISCHARGE_NOTE
from clinical.sources.intake import ExportSource, TableOptions, ingest_exports
from clinical.sources.mimic import (
    AT_DISCHARGE,
    D_ITEMS,
    D_LABITEMS,
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
from clinical.sources.spans import NEVER, as_integers, to_times
from clinical.sources.spelling import Spelled, Spelling, join_code, joined, labelled, measured, named
from clinical.sources.table_maps import Context, Fact, Refusal, TableMap

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from clinical.sources.intake import Reading
    from clinical.sources.receipt import TablesReport
    from clinical.sources.translation import Rows

__all__ = ["MIMIC_IV", "ingest_mimic_iv"]

_DIAGNOSES: Final = {"9": "ICD9CM", "10": "ICD10CM"}
_PROCEDURES: Final = {"9": "ICD9PROC", "10": "ICD10PCS"}
_NOT_GIVEN: Final = (
    "not given", "not started", "not applied", "not confirmed", "hold dose", "not stopped", "not read", "not assessed",
    "removed - unscheduled", "stopped", "removed", "stopped - unscheduled", "flushed", "assessed", "read",
)  # fmt: skip
_ITEM: Final = measured("VITAL//", "itemid", "valueuom", names="d_items")


def _births(rows: Rows, context: Context) -> None:
    """Add birth, on the first day of the year the anchor gives, and death; above 89 the release says 91."""
    register_death(rows, context)
    year, age = as_integers(rows.integer("anchor_year")), as_integers(rows.integer("anchor_age"))
    known = (year != NEVER) & (age != NEVER)
    born = np.where(known, year - np.where(known, age, 0), 1970)
    rows.refuse(known & ((age < 0) | (age > 130) | (born < 1700) | (born > 2261)), "anchor_age or anchor_year absurd")
    day = (np.clip(born, 1700, 2261) - 1970).astype("datetime64[Y]").astype("datetime64[us]").astype(np.int64)
    rows.put("@birth", to_times(np.where(known, day, NEVER)))


def _outpatient_results(rows: Rows, context: Context) -> None:
    """Split what one column holds: a number, or the two numbers of a blood pressure."""
    del context
    written = rows.text("result_value")
    pair = pc.extract_regex(written, r"^\s*(?P<upper>\d{1,3})\s*/\s*(?P<lower>\d{1,3})\s*$")
    for name in ("upper", "lower"):
        rows.put(f"@{name}", pc.cast(pc.struct_field(pair, name), pa.float64()))
    single = pc.if_else(pc.is_valid(pair), pa.scalar(None, pa.string()), written)
    rows.put("result_value", single)


def _pressure(suffix: str) -> Spelling:
    """Spell one half of a blood pressure."""
    return Spelling(
        ("result_name",), lambda _, name: Spelled(join_code("VITAL//", f"{name} {suffix}", "mmHg") if name else "")
    )


def _spell_result(_: object, name: str) -> Spelled:
    """Spell an outpatient result; its unit stands behind its name in brackets."""
    bare, _, unit = name.strip().removesuffix(")").partition(" (")
    return Spelled(join_code("VITAL//", bare, unit) if bare else "")


def _culture_times(rows: Rows, context: Context) -> None:
    """Add when a specimen was taken and when the result was stored: days lie between them."""
    del context
    put_day_or_time(rows, "@taken", "charttime", "chartdate")
    put_day_or_time(rows, "@stored", "storetime", "storedate")


_ADMISSIONS: Final = map_admissions(race="race")
_STAYS: Final = map_stays(stay="stay_id")
_TABLES: Final = (
    TableMap(
        "patients",
        (
            Fact(labelled("GENDER//", "gender", upper=True), "", belongs="patient"),
            Fact("MEDS_BIRTH", "@birth", belongs="patient"),
            Fact("DEATH", "@death", belongs="patient"),
        ),
        requires=("subject_id", "gender", "anchor_age", "anchor_year"),
        derive=_births,
        reads=("anchor_age", "anchor_year", "dod"),
        admission="",
        nothing="no gender, age or death",
    ),
    _ADMISSIONS,
    TableMap(
        "transfers",
        (Fact(labelled("WARD//", "careunit"), "intime"),),
        requires=("subject_id", "careunit", "intime"),
        identity=("transfer_id",),
        refusals=(Refusal("eventtype", ("discharge",), "a discharge, which admissions has"),),
    ),
    map_services(),
    _STAYS,
    TableMap(
        "diagnoses_icd",
        (Fact(icd("icd_code", "icd_version", systems=_DIAGNOSES), AT_DISCHARGE),),
        requires=("subject_id", "hadm_id", "icd_code", "icd_version"),
        identity=("seq_num",),
        derive=at_discharge,
    ),
    TableMap(
        "procedures_icd",
        (Fact(icd("icd_code", "icd_version", systems=_PROCEDURES), AT_DISCHARGE),),
        requires=("subject_id", "hadm_id", "icd_code", "icd_version"),
        identity=("seq_num", "chartdate"),
        derive=at_discharge,
    ),
    map_drgs(identity=("drg_severity", "drg_mortality")),
    TableMap(
        "hcpcsevents",
        (Fact(joined("PROC//HCPCS//", "hcpcs_cd"), AT_DISCHARGE),),
        requires=("subject_id", "hadm_id", "hcpcs_cd"),
        identity=("seq_num", "chartdate"),
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
        identity=("labevent_id",),
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
        reads=("chartdate", "charttime", "storedate", "storetime"),
    ),
    TableMap(
        "prescriptions",
        (Fact(labelled("MED//", "drug"), "starttime"),),
        requires=("subject_id", "drug", "starttime"),
        identity=("pharmacy_id", "drug_type", "formulary_drug_cd", "ndc", "dose_val_rx", "form_val_disp", "stoptime"),
    ),
    TableMap(
        "emar",
        (Fact(labelled("GIVEN//", "medication"), "charttime"),),
        requires=("subject_id", "medication", "charttime"),
        identity=("emar_id",),
        refusals=(Refusal("event_txt", _NOT_GIVEN, "not given"),),
    ),
    TableMap(
        "omr",
        (
            Fact(Spelling(("result_name",), _spell_result), "chartdate", number="result_value", needs_number=True),
            Fact(_pressure("systolic"), "chartdate", number="@upper", needs_number=True),
            Fact(_pressure("diastolic"), "chartdate", number="@lower", needs_number=True),
        ),
        requires=("subject_id", "chartdate", "result_name", "result_value"),
        identity=("seq_num",),
        derive=_outpatient_results,
        reads=("result_value",),
        dates=("chartdate",),
        admission="",
    ),
    TableMap(
        "chartevents",
        (Fact(_ITEM, "charttime", number="valuenum", text="value"),),
        requires=("subject_id", "itemid", "charttime", "valuenum"),
        identity=("storetime",),
        stay="stay_id",
        locate=True,
    ),
    TableMap(
        "outputevents",
        (Fact(measured("OUTPUT//", "itemid", "valueuom", names="d_items"), "charttime", number="value"),),
        requires=("subject_id", "itemid", "charttime", "value"),
        identity=("storetime",),
        stay="stay_id",
    ),
    TableMap(
        "inputevents",
        infused(begin="starttime", end="endtime"),
        requires=("subject_id", "itemid", "starttime", "endtime", "amount"),
        identity=("orderid", "linkorderid"),
        refusals=(Refusal("statusdescription", ("rewritten",), "rewritten by a later row"),),
        stay="stay_id",
        nothing="no rate and no amount",
    ),
    TableMap(
        "procedureevents",
        (Fact(named("TREATMENT//", "itemid", names="d_items"), "starttime"),),
        requires=("subject_id", "itemid", "starttime"),
        identity=("orderid", "endtime"),
        stay="stay_id",
    ),
    TableMap(
        "discharge",
        (Fact(DISCHARGE_NOTE, AT_DISCHARGE, text="text"),),
        requires=("subject_id", "hadm_id", "text"),
        identity=("note_id",),
        derive=discharge_note,
        reads=("charttime", "storetime", "chartdate"),
    ),
)  # fmt: skip


def _prepare(reading: Reading) -> Context:
    """Read admissions and stays ahead."""
    return prepare_mimic(reading, _ADMISSIONS, _STAYS)


MIMIC_IV: Final = ExportSource(
    name="MIMIC-IV",
    times="as given; days without a time of day stand at their end",
    tables=_TABLES,
    dictionaries=(D_LABITEMS, D_ITEMS),
    essential=("patients", "admissions"),
    prepare=_prepare,
)


def ingest_mimic_iv(
    src: Path,
    out: Path,
    *,
    options: TableOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> TablesReport:
    """Read a MIMIC-IV export (hosp/, icu/, note/, or flat) and write it as one hospital.

    Args, Returns, Raises, Guarantee: as `clinical.sources.intake.ingest_exports`.
    """
    return ingest_exports(MIMIC_IV, src, out, options=options, progress=progress)
