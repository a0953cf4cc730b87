"""Readmission: another inpatient admission of the patient within 30 days, asked at the discharge.

Who dies in hospital cannot come back and is left out. Whether a patient came back is known only as far as the record
reaches: where the source says that it ends within the 30 days (``OBSERVATION_PERIOD//END``) the admission is left out;
where nothing later is on record and nobody says whether the patient was still followed, the answer is no, as in
published studies, and the receipt counts how many answers rest on that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from clinical.cohorts.attrition import Attrition
from clinical.cohorts.hospital_stays import answer_once, next_admissions
from clinical.cohorts.records import DAY_US

if TYPE_CHECKING:
    from clinical.cohorts.attrition import Labelled
    from clinical.cohorts.records import Record

__all__ = ["label_readmission"]

_WITHIN: Final = 30 * DAY_US
_RECORD_END: Final = "OBSERVATION_PERIOD//END"


def label_readmission(record: Record) -> Labelled:
    """Label one shard; see the module."""
    following = next_admissions(record)["began"]
    cohort = Attrition(record.admissions)
    cohort.exclude(
        "no discharge, or one before the admission", ~(cohort.kept["ended"] >= cohort.kept["began"]).to_numpy()
    )
    cohort.exclude("died in hospital", (cohort.kept["died"] > 0).to_numpy())
    until = cohort.kept["ended"] + _WITHIN
    back = (following[cohort.kept.index] <= until).to_numpy()
    ends = record.of([_RECORD_END]).groupby("subject_id")["time"].max()
    dead = (cohort.kept["death"] <= until).to_numpy()
    told = cohort.kept["subject_id"].map(ends)
    cohort.exclude("the record ends within 30 days", (told < until).to_numpy() & ~back & ~dead)
    kept = cohort.kept
    until, back = kept["ended"] + _WITHIN, (following[kept.index] <= kept["ended"] + _WITHIN).to_numpy()
    last = kept["subject_id"].map(record.of(_all_codes(record)).groupby("subject_id")["time"].max())
    dead = (kept["death"] <= until).to_numpy()
    unknown = kept["subject_id"].map(ends).isna() & (last < until)
    cohort.note("died within 30 days without a readmission", dead & ~back)
    cohort.note("follow-up not known, taken as no readmission", unknown.to_numpy() & ~back & ~dead)
    return cohort.close(answer_once(kept, kept["ended"].to_numpy(np.int64), back))


def _all_codes(record: Record) -> list[str]:
    """Name every code but those that stand for the end of a record or a death learnt elsewhere."""
    return [code for code in record.events["code"].cat.categories if code not in {_RECORD_END, "DEATH"}]
