"""Labels at rest: what a task asks about a patient at a moment, and the answer.

A label is no event: it may come from the future of its moment, so it is kept apart from the events, in MEDS' own label
schema (one parquet a task under `labels/`), with the stay it belongs to beside it. A task that asks for several codes
at once has a table of its own shape, `CODE_LABEL_SCHEMA`. Whoever divides or joins hospitals takes the labels along by
patient.

The column ``stay_id`` names what is asked about: the intensive-care stay, or, in tasks about admissions
(`clinical.tasks.asks_about_admissions`), the admission's ``hadm_id``; null where the source numbers neither.

Source: MEDS 0.4, label schema.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clinical.profile import ProfileError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "CODE_LABEL_SCHEMA",
    "FOLDER",
    "LABEL_SCHEMA",
    "list_labels",
    "read_code_labels",
    "read_labels",
    "select_patients",
    "write_labels",
]

FOLDER: Final = "labels"
LABEL_SCHEMA: Final[pa.Schema] = pa.schema(
    [
        pa.field("subject_id", pa.int64(), nullable=False),
        pa.field("prediction_time", pa.timestamp("us"), nullable=False),
        pa.field("boolean_value", pa.bool_()),
        pa.field("float_value", pa.float32()),
        pa.field("stay_id", pa.int64()),
    ]
)
CODE_LABEL_SCHEMA: Final[pa.Schema] = pa.schema(
    [
        pa.field("subject_id", pa.int64(), nullable=False),
        pa.field("prediction_time", pa.timestamp("us"), nullable=False),
        pa.field("codes", pa.list_(pa.string()), nullable=False),
        pa.field("stay_id", pa.int64()),
    ]
)


def write_labels(hospital: Path, task: str, labels: pa.Table) -> Path:
    """Write a task's labels into a hospital, replacing earlier ones in one step.

    Args:
        hospital: the hospital's folder.
        task: the task's name.
        labels: columns of `LABEL_SCHEMA`, each row with exactly one of boolean_value and float_value; or columns of
            `CODE_LABEL_SCHEMA`.

    Raises:
        ProfileError: a column is missing or of another type, or a row has no value or two.
    """
    folder = Path(hospital) / FOLDER
    path = folder / f"{task}.parquet"
    table = _checked(labels, path)
    folder.mkdir(exist_ok=True)
    partial = path.with_suffix(".partial")
    pq.write_table(table, partial)
    partial.replace(path)
    return path


def read_labels(hospital: Path, task: str) -> pa.Table:
    """Read a task's labels, ordered by patient, stay and time.

    Returns:
        Columns of `LABEL_SCHEMA`, or of `CODE_LABEL_SCHEMA` where the task has several codes at once.

    Raises:
        ProfileError: the hospital has none for this task, or the file breaks the schema.
    """
    path = Path(hospital) / FOLDER / f"{task}.parquet"
    if not path.is_file():
        known = ", ".join(list_labels(hospital)) or "none"
        raise ProfileError(
            f"{path.parent.parent.name} has no labels for the task {task}; it has labels for: {known} "
            "(wardround data label derives others from its events)"
        )
    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError):
        raise ProfileError(f"{path} cannot be read as parquet; write the labels again") from None
    return _checked(table, path).sort_by([(name, "ascending") for name in ("subject_id", "stay_id", "prediction_time")])


def read_code_labels(hospital: Path, task: str) -> pa.Table:
    """Read the labels of a task that has several codes at once: columns of `CODE_LABEL_SCHEMA`.

    Raises:
        ProfileError: as `read_labels`, or the task's labels are single values.
    """
    labels = read_labels(hospital, task)
    if "codes" not in labels.column_names:
        raise ProfileError(f"{Path(hospital).name}: the labels of {task} are single values, not lists of codes")
    return labels


def list_labels(hospital: Path) -> list[str]:
    """Name the tasks a hospital has labels for."""
    return sorted(path.stem for path in (Path(hospital) / FOLDER).glob("*.parquet"))


def select_patients(hospital: Path, patients: Iterable[int], *, into: Path) -> None:
    """Copy the labels of some patients into another hospital; tasks that have none of them are left out."""
    wanted = pa.array(sorted(patients), pa.int64())
    for task in list_labels(hospital):
        table = read_labels(hospital, task)
        chosen = table.filter(pc.is_in(table.column("subject_id"), value_set=wanted))
        if len(chosen):
            write_labels(into, task, chosen)


def _checked(labels: pa.Table, path: Path) -> pa.Table:
    schema = CODE_LABEL_SCHEMA if "codes" in labels.column_names else LABEL_SCHEMA
    missing = [name for name in schema.names if name not in labels.column_names]
    if missing:
        raise ProfileError(f"{path}: labels lack the column {missing[0]!r}; they have {', '.join(schema.names)}")
    if len(set(labels.column_names)) < labels.num_columns:
        raise ProfileError(f"{path}: a column appears twice; every column of a label table has its own name")
    try:
        table = labels.select(schema.names).cast(schema)
    except (pa.ArrowInvalid, ValueError):
        raise ProfileError(f"{path}: labels are not of the types of the label schema") from None
    if schema is CODE_LABEL_SCHEMA:
        return table
    single = pc.xor(pc.is_valid(table.column("boolean_value")), pc.is_valid(table.column("float_value")))
    if len(table) and not pc.all(single).as_py():
        raise ProfileError(f"{path}: each label has exactly one of boolean_value and float_value")
    return table
