"""Cohorts of admissions: one question an admission, at a moment of it.

In their labels the column ``stay_id`` holds the admission's ``hadm_id``, null where the source has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from clinical.cohorts.records import NOBODY
from clinical.labels import LABEL_SCHEMA

if TYPE_CHECKING:
    import pandas as pd

    from clinical.cohorts.records import Record

__all__ = ["answer_once", "next_admissions", "question_columns"]


def answer_once(admissions: pd.DataFrame, times: np.ndarray, answers: np.ndarray) -> pa.Table:
    """Make one yes-or-no label an admission.

    Args:
        admissions: rows of `Record.admissions`.
        times: int64 [N], microseconds.
        answers: bool [N].
    """
    columns = question_columns(admissions, times)
    columns |= {"boolean_value": pa.array(answers, pa.bool_()), "float_value": pa.nulls(len(answers), pa.float32())}
    return pa.table([columns[name] for name in LABEL_SCHEMA.names], schema=LABEL_SCHEMA)


def question_columns(admissions: pd.DataFrame, times: np.ndarray) -> dict[str, pa.Array]:
    """Name who is asked about which admission and when."""
    number = admissions["hadm_id"].to_numpy(np.int64)
    return {
        "subject_id": pa.array(admissions["subject_id"].to_numpy(np.int64)),
        "prediction_time": pa.array(times.astype(np.int64), pa.int64()).cast(pa.timestamp("us")),
        "stay_id": pa.array(number, mask=number == NOBODY),
    }


def next_admissions(record: Record) -> pd.DataFrame:
    """Name the next admission of each admission's patient, one that begins at or after its end.

    An admission inside or across the end of another is the same episode, written twice; it is no return.

    Returns:
        One row an admission, as `Record.admissions`: row (of the next, -1 for none), began (float64, NaN).
    """
    import pandas as pd

    admissions = record.admissions
    ends = admissions.reset_index(names="own")[["own", "subject_id", "ended"]].dropna(subset="ended")
    left = ends.assign(at=ends["ended"].astype(np.int64)).sort_values("at", kind="stable")
    right = admissions.reset_index(names="row").assign(at=admissions["began"].astype(np.int64))
    right = right[["row", "subject_id", "at", "began"]].sort_values("at", kind="stable")
    joined = pd.merge_asof(left, right, on="at", by="subject_id", direction="forward").set_index("own")
    found = joined.reindex(range(len(admissions)))
    found.loc[found["row"] == found.index, ["row", "began"]] = np.nan  # one that ends as it begins finds itself
    return pd.DataFrame({"row": found["row"].fillna(NOBODY).astype(np.int64), "began": found["began"].astype(float)})
