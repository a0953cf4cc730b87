"""Patients made by hand: a few events each, whose labels can be read off."""

from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa

from clinical.cohorts.records import Record, read_record
from clinical.events import write_hospital

START = datetime(2150, 1, 1, 7, 30)  # noqa: DTZ001 - event times are naive by the profile
SCHEMA = pa.schema(
    [
        ("subject_id", pa.int64()),
        ("time", pa.timestamp("us")),
        ("code", pa.string()),
        ("numeric_value", pa.float32()),
        ("text_value", pa.large_string()),
        ("hadm_id", pa.int64()),
        ("stay_id", pa.int64()),
    ]
)
CREATININE = "LAB//Creatinine//mg/dL"
RATE = "VITAL//Heart rate//bpm"


def event(patient, hour, code, value=None, *, stay=None, hadm=None, text=None):
    """One event, so many hours after the common beginning; None is static."""
    time = None if hour is None else START + timedelta(hours=hour)
    return dict(zip(SCHEMA.names, (patient, time, code, value, text, hadm, stay), strict=True))


def admission(patient, hadm, hours, *, at=0, to="HOME"):
    """An admission and its discharge."""
    events = [event(patient, at, "ADMISSION", hadm=hadm), event(patient, at + hours, "DISCHARGE", hadm=hadm)]
    return events + ([event(patient, at + hours, f"VISIT//TO//{to}", hadm=hadm)] if to else [])


def stay(patient, number, hours, *, at=0, every=1, age=60.0, to="HOME"):
    """An intensive-care stay, watched by the heart rate, in an admission from 2 hours before to a day after it."""
    events = admission(patient, number * 10, hours + 26, at=at - 2, to=to)
    events += [
        event(patient, at, "ICU//IN", stay=number, hadm=number * 10),
        event(patient, at + hours, "ICU//OUT", stay=number, hadm=number * 10),
        event(patient, at, "AGE//years", age, stay=number),
    ]
    watched = [at + hour for hour in range(0, int(hours) + 1, every)]
    return events + [event(patient, hour, RATE, 80.0, stay=number) for hour in watched]


def table_of(events) -> pa.Table:
    """The events in order of patient and time."""
    ordered = sorted(events, key=lambda row: (row["subject_id"], row["time"] or datetime.min))  # noqa: DTZ901
    return pa.Table.from_pylist(ordered, schema=SCHEMA)


def record_of(*groups) -> Record:
    """A shard of these groups of events."""
    table = table_of([row for group in groups for row in group])
    return read_record(table, table)


def hospital_of(folder: Path, *groups, source: str = "test") -> Path:
    """A hospital of these groups of events."""
    write_hospital(folder, [table_of([row for group in groups for row in group])], site_id="h", source=source)
    return folder


def answers(labels: pa.Table) -> dict:
    """Labels as {(stay, hour): answer}."""
    found = {}
    for row in labels.to_pylist():
        value = row["float_value"] if row["boolean_value"] is None else row["boolean_value"]
        found[row["stay_id"], (row["prediction_time"] - START) / timedelta(hours=1)] = value
    return found
