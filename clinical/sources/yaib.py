"""YAIB cohorts into a hospital: hourly measurements of intensive-care stays, and the labels of five tasks.

YAIB (van de Water et al., ICLR 2024) gives each task a folder of three parquet files: `dyn` (48 variables by stay and
hour), `outc` (the label, once or by the hour) and `sta` (age, sex, height, weight). The folders overlap: the same stay
appears in several, with the same measurements. Here they become one hospital: each measurement once, as an event at its
hour, and each task's labels in its own table.

YAIB keeps neither who a stay belongs to nor when it was. Without a table of stays every stay is a patient of its own,
which halves nobody's privacy but may split a patient over train and held-out; `--stays` mends that where the source
still knows. Times count from a fixed day and the receipt says that they are assumed.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from clinical.events import HospitalWriter, ProfileError
from clinical.features.concepts import read_concepts
from clinical.labels import write_labels
from clinical.sources.receipt import TIMES_ASSUMED, RowTally, TablesReport
from clinical.tasks.prediction import PREDICTION_TASKS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

__all__ = ["ingest_yaib"]

# YAIB's folder names, in the order in which a measurement is believed when two cohorts differ
TASK_OF_FOLDER: Final = {
    "los": "remaining-stay",
    "mortality24": "mortality-24h",
    "aki": "aki",
    "sepsis": "sepsis",
    "kidney_function": "kidney-function",
}
_FILES: Final = ("dyn", "outc", "sta")
_FIRST_DAY: Final = datetime(2000, 1, 1)  # noqa: DTZ001  # the profile's times are naive
_APART: Final = timedelta(days=60)  # between the stays of one patient; longer than any of YAIB's
_HOUR_US: Final = 3_600_000_000
_STATIC: Final = {"age": "AGE//years", "height": "VITAL//Height//cm", "weight": "VITAL//Weight//kg"}
_MEMBERS: Final = ("stay_id", "patient_id", "site_id")


@dataclass(frozen=True, slots=True)
class _Cohort:
    """One task's three tables."""

    task: str
    dyn: pd.DataFrame
    outc: pd.DataFrame
    sta: pd.DataFrame


@dataclass(frozen=True, slots=True)
class _Stay:
    """Whose stay it is, when it began and at which site."""

    subject_id: int
    began: datetime
    site_id: str | None


def ingest_yaib(src: Path, out: Path, *, stays: Path | None = None, site_id: str = "", seed: int = 0) -> TablesReport:
    """Bring YAIB's cohorts into one hospital folder.

    Args:
        src: a folder of task folders, each with dyn, outc and sta parquet (or with one sub-folder that has them).
        out: the hospital's folder to write; absent or empty.
        stays: a table (.csv, .csv.gz or .parquet) of stay_id, patient_id and, if wanted, site_id.
        site_id: the hospital's name where `stays` gives none; the folder's when empty.
        seed: decides the splits.

    Returns:
        The receipt, also written to the hospital.

    Raises:
        ProfileError: no cohort is found, a table lacks a column, or `stays` misses a stay.
    """
    from clinical.partition import split_hospital

    cohorts = _read_cohorts(Path(src))
    places = _place_stays(cohorts, stays)
    tallies: dict[str, RowTally] = defaultdict(RowTally)
    with HospitalWriter(
        out, site_id=site_id or Path(out).name, source=f"YAIB cohorts, hourly, {TIMES_ASSUMED}"
    ) as writer:
        writer.append(_static_events(cohorts, places, tallies))
        seen: set[tuple[int, int]] = set()
        for cohort in cohorts:
            for table in _measurements(cohort, places, seen, tallies[f"{cohort.task}/dyn"]):
                writer.append(table)
    for cohort in cohorts:
        write_labels(Path(out), cohort.task, _labels(cohort, places, tallies[f"{cohort.task}/outc"]))
    split_hospital(Path(out), seed=seed)
    report = TablesReport(
        source="YAIB cohorts",
        inputs={
            cohort.task: folder for folder, task in TASK_OF_FOLDER.items() for cohort in cohorts if cohort.task == task
        },
        times="assumed: hours since the stay began are kept, the day is ours",
        patients=writer.manifest.patients,
        events={name: tally.events for name, tally in tallies.items()},
        tables={name: tally.count() for name, tally in tallies.items()},
        refused_rows={
            name: {reason: tuple(rows) for reason, rows in tally.rows.items()} for name, tally in tallies.items()
        },
        missing=tuple(folder for folder, task in TASK_OF_FOLDER.items() if task not in {c.task for c in cohorts}),
        unused=(),
        unknown_codes=0,
    )
    report.write(Path(out))
    return report


def _read_cohorts(src: Path) -> list[_Cohort]:
    import pandas as pd

    found = []
    for folder, task in TASK_OF_FOLDER.items():
        place = _folder_of(src / folder)
        if place is not None:
            found.append(_Cohort(task, *(pd.read_parquet(place / f"{name}.parquet") for name in _FILES)))
    if not found:
        wanted = ", ".join(TASK_OF_FOLDER)
        raise ProfileError(
            f"{src} holds no YAIB cohort: it needs folders named {wanted} with dyn, outc and sta parquet"
        )
    for cohort in found:
        _check_columns(cohort)
    return found


def _folder_of(folder: Path) -> Path | None:
    """Return the folder itself, or the only one below it, that has the three files."""
    places = [
        place
        for place in (folder, *sorted(folder.glob("*/")))
        if all((place / f"{n}.parquet").is_file() for n in _FILES)
    ]
    if len(places) > 1:
        names = ", ".join(place.name for place in places)
        raise ProfileError(f"{folder} holds {len(places)} cohorts ({names}): give a folder with one source a task")
    return places[0] if places else None


def _check_columns(cohort: _Cohort) -> None:
    hourly = PREDICTION_TASKS[cohort.task].hourly
    for name, table, wanted in (
        ("dyn", cohort.dyn, {"stay_id", "time"}),
        ("outc", cohort.outc, {"stay_id", "label"} | ({"time"} if hourly else set())),
        ("sta", cohort.sta, {"stay_id", "age", "sex"}),
    ):
        if missing := sorted(wanted - set(table.columns)):
            raise ProfileError(f"the {name} table of the task {cohort.task} lacks the column {missing[0]!r}")


def _place_stays(cohorts: list[_Cohort], stays: Path | None) -> dict[int, _Stay]:
    """Give every stay its patient, its beginning and its site."""
    ids = sorted({int(stay) for cohort in cohorts for stay in cohort.sta["stay_id"].unique()})
    if stays is None:
        return {stay: _Stay(number, _FIRST_DAY, None) for number, stay in enumerate(ids, start=1)}
    table = _read_members(stays).set_index("stay_id")
    if absent := len(set(ids) - set(table.index)):
        raise ProfileError(f"{stays} lacks {absent} of the cohorts' {len(ids)} stays: every stay needs its patient")
    numbers: dict[object, int] = {}
    begun: dict[int, int] = defaultdict(int)
    places = {}
    for stay in ids:
        member = table.loc[stay]
        subject = numbers.setdefault(member["patient_id"], len(numbers) + 1)
        site = str(member["site_id"]) if "site_id" in table.columns else None
        places[stay] = _Stay(subject, _FIRST_DAY + begun[subject] * _APART, site)
        begun[subject] += 1
    return places


def _read_members(path: Path) -> pd.DataFrame:
    import pandas as pd

    if not Path(path).is_file():
        raise ProfileError(f"no table of stays at {path}: it has stay_id, patient_id and, if wanted, site_id")
    table = pd.read_parquet(path) if Path(path).suffix == ".parquet" else pd.read_csv(path)
    missing = [name for name in _MEMBERS[:2] if name not in table.columns]
    if missing or table["stay_id"].duplicated().any():
        raise ProfileError(f"{path} must have the columns stay_id and patient_id, each stay once")
    return table


def _static_events(cohorts: list[_Cohort], places: Mapping[int, _Stay], tallies: Mapping[str, RowTally]) -> pa.Table:
    """Give what is known at the beginning of every stay: it began, age, sex, height, weight."""
    rows: list[tuple[int, datetime | None, str, float | None, int | None, str | None]] = []
    known: set[int] = set()
    for cohort in cohorts:
        tally = tallies[f"{cohort.task}/sta"]
        for number, row in enumerate(cohort.sta.to_dict("records"), start=1):
            stay = int(row["stay_id"])
            tally.read += 1
            if stay in known:
                tally.refuse("stay already known from another cohort", [number])
                continue
            known.add(stay)
            own = _facts(row, stay, places[stay])
            tally.events += len(own)
            rows += own
    subject, time, code, value, stay_id, site = zip(*rows, strict=True)
    columns = {"subject_id": subject, "time": pa.array(time, pa.timestamp("us")), "code": code}
    more = {
        "numeric_value": pa.array(value, pa.float32()),
        "stay_id": pa.array(stay_id, pa.int64()),
        "site_id": pa.array(site, pa.string()),
    }
    return pa.table(columns | more)


def _facts(
    row: Mapping[Any, Any], stay: int, place: _Stay
) -> list[tuple[int, datetime | None, str, float | None, int | None, str | None]]:
    facts: list[tuple[int, datetime | None, str, float | None, int | None, str | None]] = [
        (place.subject_id, place.began, "ICU//IN", None, stay, place.site_id)
    ]
    sex = str(row["sex"])[:1].upper()
    if sex in {"F", "M"}:
        facts.append((place.subject_id, None, f"GENDER//{sex}", None, None, place.site_id))
    for column, code in _STATIC.items():
        value = row.get(column)
        if isinstance(value, float) and np.isfinite(value):
            facts.append((place.subject_id, place.began, code, value, stay, place.site_id))
    return facts


def _measurements(
    cohort: _Cohort, places: Mapping[int, _Stay], seen: set[tuple[int, int]], tally: RowTally
) -> list[pa.Table]:
    """Give a cohort's measurements as events, leaving out hours that an earlier cohort has given."""
    stays = cohort.dyn["stay_id"].to_numpy().astype(np.int64)
    hours = _hours(cohort.dyn["time"])
    tally.read += len(stays)
    keys = list(zip(stays.tolist(), hours.tolist(), strict=True))
    fresh = np.fromiter((key not in seen for key in keys), dtype=bool, count=len(keys))
    tally.refuse("hour already known from another cohort", np.flatnonzero(~fresh) + 1)
    seen.update(keys)
    subject, began, site = _owners(stays, places)
    tables = []
    for concept in read_concepts():
        if concept.name not in cohort.dyn.columns:
            continue
        values = cohort.dyn[concept.name].to_numpy(dtype=np.float64)
        kept = np.flatnonzero(fresh & np.isfinite(values))
        tally.events += len(kept)
        times = pa.array(began[kept] + hours[kept] * _HOUR_US, pa.int64()).cast(pa.timestamp("us"))
        columns = {
            "subject_id": subject[kept],
            "time": times,
            "code": pa.array(np.full(len(kept), concept.code)),
            "numeric_value": pa.array(values[kept].astype(np.float32)),
            "stay_id": stays[kept],
            "site_id": pa.array(site[kept], pa.string()),
        }
        tables.append(pa.table(columns))
    return tables


def _owners(stays: np.ndarray, places: Mapping[int, _Stay]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Patient int64, beginning in microseconds int64 and site of each row."""
    own, row = np.unique(stays, return_inverse=True)
    epoch = datetime(1970, 1, 1)  # noqa: DTZ001
    subject = np.array([places[stay].subject_id for stay in own.tolist()], np.int64)
    began = np.array([(places[stay].began - epoch) // timedelta(microseconds=1) for stay in own.tolist()], np.int64)
    site = np.array([places[stay].site_id for stay in own.tolist()], object)
    return subject[row], began[row], site[row]


def _hours(times: pd.Series) -> np.ndarray:
    """Whole hours since the stay began: int64 [M]."""
    return (times.to_numpy().astype("timedelta64[s]").astype(np.int64)) // 3600


def _labels(cohort: _Cohort, places: Mapping[int, _Stay], tally: RowTally) -> pa.Table:
    task = PREDICTION_TASKS[cohort.task]
    stays = cohort.outc["stay_id"].to_numpy().astype(np.int64)
    hours = _hours(cohort.outc["time"]) if task.hourly else np.full(len(stays), task.hours)
    values = cohort.outc["label"].to_numpy(dtype=np.float64)
    tally.read += len(stays)
    tally.refuse("label is missing", np.flatnonzero(np.isnan(values)) + 1)
    tally.refuse(
        "hour is outside the task", np.flatnonzero(~np.isnan(values) & ((hours < 0) | (hours > task.hours))) + 1
    )
    kept = np.flatnonzero(~np.isnan(values) & (hours >= 0) & (hours <= task.hours))
    tally.events += len(kept)
    subject, began, _ = _owners(stays, places)
    binary = task.kind == "binary"
    nothing = pa.nulls(len(kept))
    columns = {
        "subject_id": subject[kept],
        "prediction_time": pa.array(began[kept] + hours[kept] * _HOUR_US, pa.int64()).cast(pa.timestamp("us")),
        "boolean_value": pa.array(values[kept] > 0.5) if binary else nothing.cast(pa.bool_()),
        "float_value": nothing.cast(pa.float32()) if binary else pa.array(values[kept].astype(np.float32)),
        "stay_id": stays[kept],
    }
    return pa.table(columns)
