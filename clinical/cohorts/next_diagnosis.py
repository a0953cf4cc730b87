"""Next diagnosis: which groups of diagnoses the patient's next admission has, asked at the discharge of this one.

Groups are those of `clinical.code_groups`: CCSR categories of ICD-10-CM codes and CCS categories of ICD-9-CM codes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from clinical.code_groups import GROUPED, group_diagnoses
from clinical.cohorts.attrition import Attrition
from clinical.cohorts.hospital_stays import next_admissions, question_columns
from clinical.cohorts.records import NOBODY, codes_of, last_begun
from clinical.labels import CODE_LABEL_SCHEMA

if TYPE_CHECKING:
    import pandas as pd

    from clinical.cohorts.attrition import Labelled
    from clinical.cohorts.records import Record

__all__ = ["label_next_diagnosis"]


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
    codes = codes_of(record.events, GROUPED)
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
