"""A tiny hospital in which everything is in order, as tables a test may spoil before they are written."""

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from clinical.events import EVENT_SCHEMA
from clinical.labels import LABEL_SCHEMA

PATIENTS = 40
DAY = timedelta(days=1)


def admitted(patient: int) -> datetime:
    """When a patient came; everything else follows from it."""
    return datetime(2020, 3, 1, 8, 15) + patient * DAY  # noqa: DTZ001 - event times are naive by the profile


def _rows(patient: int) -> list[tuple]:
    """One admission of 100 hours with 40 hours of intensive care; every fourth patient dies at its end."""
    p, start = patient, admitted(patient)
    hour = timedelta(hours=1)
    discharged, hadm, stay = start + 100 * hour, 100 + p, 200 + p
    rows = [
        (p, None, f"GENDER//{'FM'[p % 2]}", None, None, None, None),
        (p, None, "RACE//WHITE", None, None, None, None),
        (p, start - (18_000 + 100 * p) * DAY, "MEDS_BIRTH", None, None, None, None),
        (p, start, "ADMISSION", None, None, hadm, None),
        (p, start + hour, "ICU//IN", None, None, hadm, stay),
        (p, start + 2 * hour, "LAB//Creatinine//mg/dL", 0.8 + 0.02 * p, None, hadm, stay),
        (p, start + 2 * hour, "LAB//Calcium//mg/dL", 8.4 + 0.02 * p, None, hadm, stay),
        (p, start + 2 * hour, "VITAL//Heart rate//bpm", 60.0 + p, None, hadm, stay),
        (p, start + 3 * hour, "MED//Aspirin", None, None, hadm, None),
        (p, start + 41 * hour, "ICU//OUT", None, None, hadm, stay),
        (p, discharged, "DIAG//ICD10CM//I10", None, None, hadm, None),
        (p, discharged, "DIAG//ICD10CM//E11.9", None, None, hadm, None),
        (p, discharged, "DRG//HCFA//194", None, None, hadm, None),
        (p, discharged, "VISIT//TO//HOME", None, None, hadm, None),
        (p, discharged, "NOTE//DISCHARGE", None, f"Patient {p} went home.", hadm, None),
        (p, discharged, "DISCHARGE", None, None, hadm, None),
    ]
    return rows + [(p, discharged, "DEATH", None, None, None, None)] * (p % 4 == 0)


@dataclass
class Ward:
    """The tables of a hospital; what is None is computed from the events when it is written."""

    events: pd.DataFrame
    labels: dict[str, pd.DataFrame]
    splits: pd.DataFrame
    manifest: dict = field(default_factory=dict)
    receipt: dict = field(default_factory=dict)
    keep_order: bool = False

    def at(self, code: str, *patients: int) -> pd.Series:
        """Choose the events with a code, of all patients or of some."""
        chosen = self.events.code == code
        return chosen & self.events.subject_id.isin(patients) if patients else chosen

    def put(self, rows: pd.Series, column: str, value: object) -> None:
        """Write something into some events."""
        self.events.loc[rows, column] = value

    def move(self, rows: pd.Series, by: timedelta) -> None:
        """Move events in time."""
        self.events.loc[rows, "time"] += by

    def add(self, code: str, *patients: int, hours: float = 5, value: float | None = None, stay: bool = False) -> None:
        """Give patients one more event of their admission."""
        rows = [
            (p, admitted(p) + timedelta(hours=hours), code, value, None, 100 + p, 200 + p if stay else None)
            for p in patients
        ]
        self.events = pd.concat([self.events, frame(rows)], ignore_index=True)

    def drop(self, rows: pd.Series) -> None:
        """Take events away."""
        self.events = self.events[~rows].reset_index(drop=True)

    def write(self, folder: Path) -> Path:
        """Write the hospital as it now is, faults and all."""
        for name in ("data", "metadata", "labels"):
            (folder / name).mkdir(parents=True)
        ordered = (
            self.events if self.keep_order else self.events.sort_values(["subject_id", "time"], na_position="first")
        )
        table = pa.Table.from_pandas(ordered, schema=EVENT_SCHEMA, preserve_index=False)
        pq.write_table(table, folder / "data" / "0.parquet")
        patients = int(self.events.subject_id.nunique())
        manifest = {
            "site_id": folder.name, "dataset_name": folder.name, "source": "test", "patients": patients,
            "documents": int(self.events.code.str.startswith("NOTE//", na=False).sum()),
        } | self.manifest  # fmt: skip
        receipt = {
            "times": "as given", "patients": patients, "events": {"all": len(self.events)},
            "tables": {"all": {"read": 9, "kept": 8, "refused": {"no time": 1}}},
        } | self.receipt  # fmt: skip
        (folder / "metadata" / "dataset.json").write_text(json.dumps(manifest))
        (folder / "metadata" / "ingest.json").write_text(json.dumps(receipt))
        codes = pa.table({"code": sorted(set(self.events.code.dropna()))})
        pq.write_table(codes, folder / "metadata" / "codes.parquet")
        self.splits.to_parquet(folder / "metadata" / "subject_splits.parquet", index=False)
        for task, labels in self.labels.items():
            pq.write_table(
                pa.Table.from_pandas(labels, schema=LABEL_SCHEMA, preserve_index=False),
                folder / "labels" / f"{task}.parquet",
            )
        return folder


def frame(rows: list[tuple]) -> pd.DataFrame:
    """Make a table of events."""
    names = [name for name in EVENT_SCHEMA.names if name != "site_id"]
    order = ["subject_id", "time", "code", "numeric_value", "text_value", "hadm_id", "stay_id"]
    found = pd.DataFrame(rows, columns=order)[names]
    kinds = {"subject_id": "Int64", "time": "datetime64[us]", "numeric_value": "float64", "hadm_id": "Int64"}
    return found.astype(kinds | {"stay_id": "Int64", "code": object, "text_value": object}).assign(site_id=None)


def healthy(*, first: int = 1, patients: int = PATIENTS) -> Ward:
    """A hospital about which there is nothing to say."""
    people = range(first, first + patients)
    moments = [admitted(p) + timedelta(hours=25) for p in people]
    asked = pd.DataFrame({"subject_id": list(people), "prediction_time": moments, "stay_id": [200 + p for p in people]})
    died = asked.assign(boolean_value=[p % 4 == 0 for p in people], float_value=None)
    kidney = asked.assign(boolean_value=None, float_value=[1 + 0.01 * p for p in people])
    parts = np.array(["train"] * patients, dtype=object)
    parts[int(0.7 * patients) :] = "tuning"
    parts[int(0.85 * patients) :] = "held_out"
    return Ward(
        events=frame([row for p in people for row in _rows(p)]),
        labels={"mortality-24h": died, "kidney-function": kidney},
        splits=pd.DataFrame({"subject_id": list(people), "split": parts}),
    )
