"""A hospital read leniently: what can be read is looked at, and what cannot is itself a finding.

The reader of a study (`clinical.events`) stops at the first thing that breaks the profile, as it must. Here every such
thing is wanted at once, so a file that cannot be read is noted and passed over, and a column is taken as far as its
values can be held.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from meds import schema as meds

from clinical.doctor.moments import read_moments
from clinical.doctor.shard import Shard
from clinical.events import EVENT_SCHEMA, ProfileError, read_manifest
from clinical.labels import list_labels, read_labels
from clinical.profile import REQUIRED_COLUMNS
from clinical.sources.receipt import RECEIPT_PATH, TIMES_ASSUMED
from clinical.tasks.prediction import PREDICTION_TASKS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clinical.doctor.moments import Moments
    from clinical.events import Manifest

__all__ = ["Hospital", "ShardFile", "SiteTerms"]


@dataclass(frozen=True, slots=True)
class SiteTerms:
    """What the hospital asks of a study, as far as its data must meet it.

    Attributes:
        minimum_patients: fewer patients to train on and the hospital refuses.
        minimum_cell: smaller counts never leave.
        batch_patients: how many patients a step of a study takes by default.
        refusal: why the site policy cannot be read; empty when it can.
    """

    minimum_patients: int = 0
    minimum_cell: int = 0
    batch_patients: int = 0
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class ShardFile:
    """What became of one parquet file of events; columns by name.

    Attributes:
        rows: read; 0 when the file could not be read.
        readable: whether it is parquet.
        missing: required columns that are not there.
        unknown: how many columns the profile does not have, or has once and this file twice.
        other_type: columns whose type is not the profile's.
        no_subject: rows without a patient.
        no_code: rows without a code.
        not_finite: rows whose number is NaN or infinite.
        out_of_order: rows that stand before an earlier one of their patient, or apart from the patient's others.
    """

    rows: int = 0
    readable: bool = True
    missing: tuple[str, ...] = ()
    unknown: int = 0
    other_type: tuple[str, ...] = ()
    no_subject: int = 0
    no_code: int = 0
    not_finite: int = 0
    out_of_order: int = 0


@dataclass
class Hospital:
    """One hospital under examination.

    Attributes:
        folder: where it lies.
        terms: what it asks of a study.
        now: the moment after which nothing can have happened, in microseconds since 1970.
        files: one entry a parquet file of events, filled while `shards` runs.
    """

    folder: Path
    terms: SiteTerms
    now: int
    files: list[ShardFile] = field(default_factory=list)

    @cached_property
    def manifest(self) -> Manifest | None:
        """The manifest, None when it cannot be read."""
        try:
            return read_manifest(self.folder)
        except (ProfileError, OSError):
            return None

    @property
    def name(self) -> str:
        """The folder's name, which people know it by."""
        return self.folder.absolute().name

    @property
    def times_assumed(self) -> bool:
        """Whether event times are ours and not the hospital's."""
        told = (self.manifest.source if self.manifest else "", str((self.receipt or {}).get("times", "")))
        return any("assumed" in text or TIMES_ASSUMED in text for text in told)

    @cached_property
    def receipt(self) -> dict[str, Any] | None:
        """The receipt of the ingest; None when there is none, empty when it cannot be read."""
        path = self.folder / RECEIPT_PATH
        if not path.is_file():
            return None
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    @cached_property
    def splits(self) -> pa.Table | None:
        """Columns subject_id and split; None when the file is absent or not such a table."""
        try:
            table = pq.ParquetFile(self.folder / meds.subject_splits_filepath).read(columns=["subject_id", "split"])
            return table.cast(meds.SubjectSplitSchema.schema())
        except (pa.ArrowException, OSError, ValueError, KeyError):
            return None

    def members(self, split: str) -> np.ndarray[Any, np.dtype[np.int64]]:
        """List the patients of one split: int64, sorted, each once."""
        if self.splits is None:
            return np.zeros(0, np.int64)
        chosen = self.splits.filter(pc.equal(self.splits["split"], split))["subject_id"]
        return np.unique(np.asarray(chosen.drop_null().to_numpy(), np.int64))

    @cached_property
    def labels(self) -> dict[str, pa.Table | None]:
        """The labels of every task; None for those that cannot be read."""
        found: dict[str, pa.Table | None] = {}
        for task in list_labels(self.folder):
            try:
                found[task] = read_labels(self.folder, task)
            except (ProfileError, pa.ArrowException, OSError, ValueError):
                found[task] = None
        return found

    @cached_property
    def moments(self) -> dict[str, Moments]:
        """When the stays of each yes-or-no task that can be read are asked about."""
        found = {task: read_moments(table) for task, table in self.labels.items() if table is not None}
        return {task: asked for task, asked in found.items() if task in PREDICTION_TASKS and len(asked.subject)}

    def shards(self) -> Iterator[Shard]:
        """Read the events, one file at a time, and note what is wrong with each file in `files`."""
        self.files.clear()
        for path in sorted((self.folder / meds.data_subdirectory).glob("*.parquet")):
            events, about = _read_file(path)
            self.files.append(about)
            if events is not None:
                yield Shard(events, self)


_UNREADABLE: Final = (pa.ArrowException, OSError, ValueError, KeyError, NotImplementedError)


def _read_file(path: Path) -> tuple[pa.Table | None, ShardFile]:
    """Read one file in the profile's columns; None when it cannot be read or lacks what an event needs."""
    try:
        file = pq.ParquetFile(path)
        names = file.schema_arrow.names
        known = [name for name in EVENT_SCHEMA.names if names.count(name) == 1]
        table = file.read(columns=known)
    except _UNREADABLE:
        return None, ShardFile(readable=False)
    missing = tuple(name for name in REQUIRED_COLUMNS if name not in known)
    types = {name: table.schema.field(name).type for name in known}
    other = tuple(name for name in known if types[name] != EVENT_SCHEMA.field(name).type)
    unknown = len(names) - len(known)
    if missing:
        return None, ShardFile(rows=len(table), missing=missing, unknown=unknown, other_type=other)
    events = pa.table([_column(table, name) for name in EVENT_SCHEMA.names], schema=EVENT_SCHEMA)
    return _clean(events, ShardFile(rows=len(table), unknown=unknown, other_type=other))


def _column(table: pa.Table, name: str) -> pa.ChunkedArray | pa.Array:
    """Bring one column to the profile's type; values that cannot be held become null."""
    wanted = EVENT_SCHEMA.field(name).type
    if name not in table.column_names:
        return pa.nulls(len(table), wanted)
    column = table.column(name)
    try:
        if pa.types.is_timestamp(column.type) and column.type.tz is not None:
            column = column.cast(pa.timestamp(column.type.unit))
        column = column.cast(wanted, safe=False)
        column.validate(full=True)
    except _UNREADABLE:
        return pa.nulls(len(table), wanted)
    return column


def _clean(events: pa.Table, about: ShardFile) -> tuple[pa.Table, ShardFile]:
    """Leave out rows without patient or code and numbers that are none, and count them."""
    subject = np.asarray(events["subject_id"].is_valid().to_numpy(), bool)
    code = np.asarray(pc.fill_null(pc.not_equal(events["code"], ""), False).to_numpy(), bool)
    finite = pc.fill_null(pc.is_finite(events["numeric_value"]), True)
    number = events.schema.get_field_index("numeric_value")
    kept = events.set_column(
        number, EVENT_SCHEMA.field(number), pc.if_else(finite, events["numeric_value"], pa.scalar(None, pa.float32()))
    ).filter(pa.array(subject & code))
    return kept, ShardFile(
        rows=about.rows,
        unknown=about.unknown,
        other_type=about.other_type,
        no_subject=int((~subject).sum()),
        no_code=int((~code).sum()),
        not_finite=int(len(events) - (pc.sum(finite).as_py() or 0)),
        out_of_order=_out_of_order(kept),
    )


def _out_of_order(events: pa.Table) -> int:
    """Count the rows before which a patient's earlier time, or another patient, should not stand."""
    subject = np.asarray(events["subject_id"].to_numpy(), np.int64)
    time = np.asarray(pc.fill_null(events["time"].cast(pa.int64()), np.iinfo(np.int64).min).to_numpy(), np.int64)
    same = subject[1:] == subject[:-1]
    return int(((subject[1:] < subject[:-1]) | (same & (time[1:] < time[:-1]))).sum())
