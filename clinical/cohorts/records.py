"""A shard's patients as labellers read them: intensive-care stays, admissions, deaths, and events beside them.

Every label rests on the same few questions: when did the stay begin and end, which admission is it part of, did the
patient die in it. They are answered once here, by whole columns, so that a labeller is only its definition. Sources
that number neither stays nor admissions still have admissions: each begins with an ``ADMISSION`` and ends with the
first ``DISCHARGE`` before the next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

__all__ = ["DAY_US", "HOUR_US", "NOBODY", "Record", "codes_of", "read_record"]

HOUR_US: Final = 3_600_000_000
DAY_US: Final = 24 * HOUR_US
_YEAR_US: Final = 365.25 * DAY_US
NOBODY: Final = -1  # stands for a number the source does not give
_UNTIMED: Final = -(2**62)
_DIED: Final = r"DEAD|DEATH|DIED|DECEASED|EXPIRED"
_STATUS: Final = "VISIT//TO//"


@dataclass(frozen=True, eq=False)
class Record:
    """The whole patients of one shard; a record is equal to itself alone, so that what is computed of it can be kept.

    Attributes:
        events: subject_id, time (int64 microseconds), code (category), value (float64, NaN without one), hadm_id and
            stay_id (-1 without one); in order of patient and time, numbered from 0. Events without a time stand at
            the beginning.
        endings: one row a ``DISCHARGE``: subject_id, time, hadm_id, text; the text may name the destination.
        known: every code of the hospital, of other shards too; what it never records is not the same as nothing found.
    """

    events: pd.DataFrame
    endings: pd.DataFrame
    known: frozenset[str]

    def of(self, codes: Iterable[str]) -> pd.DataFrame:
        """Give the events with one of these codes, with a time."""
        chosen = self.events["code"].isin(list(codes)) & (self.events["time"] > _UNTIMED)
        return self.events[chosen]

    @cached_property
    def deaths(self) -> pd.Series:
        """When each patient died: int64 microseconds by subject_id."""
        return self.of(["DEATH"]).groupby("subject_id")["time"].min()

    @cached_property
    def admissions(self) -> pd.DataFrame:
        """One row an admission, patients contiguous and in order of time.

        Columns subject_id, hadm_id (-1 without one), began, ended (float64 microseconds, NaN without a discharge),
        died (float64: 1, 0, NaN where it is not known), death (float64 microseconds, NaN).
        """
        begins = self.of(["ADMISSION"])[["subject_id", "hadm_id", "time"]].rename(columns={"time": "began"})
        numbered = begins[begins["hadm_id"] != NOBODY].groupby(["subject_id", "hadm_id"])
        named = numbered.agg(began=("began", "min")).reset_index()
        unnamed = begins[begins["hadm_id"] == NOBODY]
        import pandas as pd

        whole = pd.concat([_end_named(named, self.endings), _end_unnamed(unnamed, self.endings)], ignore_index=True)
        whole = whole.sort_values(["subject_id", "began"], kind="stable", ignore_index=True)
        return self._with_death(whole)

    def _with_death(self, admissions: pd.DataFrame) -> pd.DataFrame:
        """Tell how each admission ended: by its own status, else by a death up to the end of the discharge's day."""
        told = self.events[self.events["code"].isin(codes_of(self.events, (_STATUS,)))]
        told = told.assign(status=told["code"].astype(str).str.slice(len(_STATUS)))
        status = told[told["hadm_id"] != NOBODY].groupby("hadm_id")["status"].last()
        own = admissions["hadm_id"].map(status).astype(object)
        known = own.where(own.notna(), admissions["text"])
        dead = known.astype("string").str.contains(_DIED, case=False, na=False).to_numpy(np.bool_)
        death = admissions["subject_id"].map(self.deaths).to_numpy(np.float64)
        began, ended = admissions["began"].to_numpy(np.float64), admissions["ended"].to_numpy(np.float64)
        last = np.where(known.notna(), ended, (ended // DAY_US + 1) * DAY_US)
        with np.errstate(invalid="ignore"):
            within = (death >= began) & ((death <= last) | np.isnan(ended))
        within &= ~(np.isnan(ended) & _followed(admissions))
        died = np.where(dead | within, 1.0, np.where(np.isnan(ended), np.nan, 0.0))
        return admissions.drop(columns="text").assign(died=died, death=death)

    @cached_property
    def stays(self) -> pd.DataFrame:
        """One row an intensive-care stay that has a number, ordered by patient and beginning.

        Columns subject_id, stay_id, began (int64), ended (float64, NaN without an end), hours (its length), age (years,
        NaN), admission (row of `admissions`, -1), and of that admission began_in_hospital, died, death.
        """
        begins = self.of(["ICU//IN"])
        begins = begins[begins["stay_id"] != NOBODY].sort_values("time", kind="stable")
        keys = ["subject_id", "stay_id"]
        stays = begins.groupby(keys, as_index=False).agg(began=("time", "min"), hadm_id=("hadm_id", "first"))
        ends = self.of(["ICU//OUT"]).groupby(keys)["time"].max().rename("ended")
        stays = stays.join(ends, on=keys).sort_values(["subject_id", "began"], kind="stable", ignore_index=True)
        stays = stays.assign(hours=(stays["ended"] - stays["began"]) / HOUR_US, age=self._age(stays))
        stays["admission"] = self._admission_of(stays)
        for column in ("began", "died", "death"):
            values = np.append(self.admissions[column].to_numpy(np.float64), np.nan)
            stays["began_in_hospital" if column == "began" else column] = values[stays["admission"].to_numpy()]
        return stays

    def _age(self, stays: pd.DataFrame) -> np.ndarray:
        told = self.of(["AGE//years"]).groupby("stay_id")["value"].first()
        birth = stays["subject_id"].map(self.of(["MEDS_BIRTH"]).groupby("subject_id")["time"].min())
        counted = (stays["began"] - birth) / _YEAR_US
        return stays["stay_id"].map(told).fillna(counted).to_numpy(np.float64)

    def _admission_of(self, stays: pd.DataFrame) -> np.ndarray:
        """Find each stay's admission: by its number, else the one that runs when the stay begins; int64 rows."""
        admissions = self.admissions.reset_index(names="row")
        numbered = admissions[admissions["hadm_id"] != NOBODY].drop_duplicates("hadm_id").set_index("hadm_id")["row"]
        found = stays["hadm_id"].map(numbered)
        running = last_begun(stays.rename(columns={"began": "time"}), admissions)
        ended = np.append(self.admissions["ended"].to_numpy(np.float64), np.nan)[running]
        running = np.where(stays["began"].to_numpy() > ended, NOBODY, running)
        return found.fillna(dict(enumerate(running))).astype(np.int64).to_numpy()

    @cached_property
    def owners(self) -> np.ndarray:
        """Which row of `stays` each of the events belongs to, -1 for none: int64 [events].

        By the event's own stay where it names one, else the last stay of the patient that had begun.
        """
        events = self.events
        numbered = self.stays.reset_index(names="row").drop_duplicates("stay_id").set_index("stay_id")["row"]
        named = events["stay_id"].map(numbered).fillna(NOBODY).to_numpy(np.int64)
        loose = (events["stay_id"] == NOBODY).to_numpy()
        return np.where(loose, last_begun(events, self.stays), named)


def last_begun(events: pd.DataFrame, spans: pd.DataFrame) -> np.ndarray:
    """Find the last span (rows with subject_id and began) of each event's patient that had begun by its time."""
    import pandas as pd

    left = pd.DataFrame({"subject_id": events["subject_id"].to_numpy(), "at": events["time"].to_numpy(np.int64)})
    right = pd.DataFrame({"subject_id": spans["subject_id"].to_numpy(), "at": spans["began"].to_numpy(np.int64)})
    if not len(left) or not len(right):
        return np.full(len(left), NOBODY, np.int64)
    left, right = left.reset_index(names="event"), right.reset_index(names="span")
    joined = pd.merge_asof(
        left.sort_values("at", kind="stable"), right.sort_values("at", kind="stable"), on="at", by="subject_id"
    )
    found = np.full(len(left), NOBODY, np.int64)
    found[joined["event"].to_numpy()] = joined["span"].fillna(NOBODY).to_numpy(np.int64)
    return found


def _end_named(admissions: pd.DataFrame, endings: pd.DataFrame) -> pd.DataFrame:
    """Give each numbered admission its last discharge."""
    by_number = endings[endings["hadm_id"] != NOBODY].groupby(["subject_id", "hadm_id"])
    last = by_number.agg(ended=("time", "max"), text=("text", "last"))
    return admissions.join(last, on=["subject_id", "hadm_id"])


def _end_unnamed(admissions: pd.DataFrame, endings: pd.DataFrame) -> pd.DataFrame:
    """Give each admission without a number the first discharge before the patient's next admission."""
    admissions = admissions.sort_values(["subject_id", "began"], kind="stable", ignore_index=True)
    loose = endings[endings["hadm_id"] == NOBODY]
    loose = loose.assign(row=last_begun(loose, admissions))
    first = loose[loose["row"] != NOBODY].sort_values("time", kind="stable").groupby("row")
    return admissions.join(first.agg(ended=("time", "first"), text=("text", "first")))


def _followed(admissions: pd.DataFrame) -> np.ndarray:
    """Tell which admissions have a later one of the same patient: bool [N]."""
    following = np.zeros(len(admissions), np.bool_)
    subject = admissions["subject_id"].to_numpy()
    following[:-1] = subject[1:] == subject[:-1]
    return following


def read_record(events: pa.Table, endings: pa.Table, *, known: Iterable[str] = ()) -> Record:
    """Make a record of one shard.

    Args:
        events: subject_id, time, code, numeric_value, hadm_id, stay_id of whole patients, ordered by patient and time.
        endings: subject_id, time, code, hadm_id, text_value of their ``DISCHARGE`` events.
        known: every code of the hospital; those of the shard count in any case.
    """
    import pandas as pd

    frame = pd.DataFrame(
        {
            "subject_id": events["subject_id"].to_numpy(),
            "time": _numbers(events["time"], missing=_UNTIMED),
            "code": events["code"].combine_chunks().dictionary_encode().to_pandas(),
            "value": events["numeric_value"].cast(pa.float64()).fill_null(np.nan).to_numpy(),
            "hadm_id": _numbers(events["hadm_id"], missing=NOBODY),
            "stay_id": _numbers(events["stay_id"], missing=NOBODY),
        }
    )
    timed = endings.filter(pc.and_(pc.is_valid(endings["time"]), pc.equal(endings["code"], "DISCHARGE")))
    told = pd.DataFrame(
        {
            "subject_id": timed["subject_id"].to_numpy(),
            "time": _numbers(timed["time"], missing=_UNTIMED),
            "hadm_id": _numbers(timed["hadm_id"], missing=NOBODY),
            "text": pd.Series(timed["text_value"].to_pylist(), dtype=object),
        }
    )
    return Record(frame, told, frozenset(known) | frozenset(frame["code"].cat.categories))


def _numbers(column: pa.ChunkedArray, *, missing: int) -> np.ndarray:
    values: np.ndarray = column.cast(pa.int64()).fill_null(missing).to_numpy()
    return values


def codes_of(events: pd.DataFrame, prefixes: tuple[str, ...]) -> list[str]:
    """Name the codes of a frame that start with one of the prefixes."""
    return [code for code in events["code"].cat.categories if code.startswith(prefixes)]
