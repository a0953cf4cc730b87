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
    admissions = record.admissions
    until = admissions["ended"] + _WITHIN
    facts = admissions.assign(
        until=until,
        back=next_admissions(record)["began"] <= until,
        dead=admissions["death"] <= until,
        record_end=admissions["subject_id"].map(record.of([_RECORD_END]).groupby("subject_id")["time"].max()),
        last=admissions["subject_id"].map(record.of(_all_codes(record)).groupby("subject_id")["time"].max()),
    )
    cohort = Attrition(facts)
    cohort.exclude("no discharge, or one before the admission", ~(facts["ended"] >= facts["began"]).to_numpy())
    cohort.exclude("died in hospital", (cohort.kept["died"] > 0).to_numpy())
    cut = (cohort.kept["record_end"] < cohort.kept["until"]) & ~cohort.kept["back"] & ~cohort.kept["dead"]
    cohort.exclude("the record ends within 30 days", cut.to_numpy())
    kept = cohort.kept
    back, dead = kept["back"].to_numpy(), kept["dead"].to_numpy()
    unknown = (kept["record_end"].isna() & (kept["last"] < kept["until"])).to_numpy()
    cohort.note("died within 30 days without a readmission", dead & ~back)
    cohort.note("follow-up not known, taken as no readmission", unknown & ~back & ~dead)
    return cohort.close(answer_once(kept, kept["ended"].to_numpy(np.int64), back))


def _all_codes(record: Record) -> list[str]:
    """Name every code but those that stand for the end of a record or a death learnt elsewhere."""
    return [code for code in record.events["code"].cat.categories if code not in {_RECORD_END, "DEATH"}]
