"""Whether labels can be asked: of patients who are there, within their stays, with answers that differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from clinical.doctor.files import people_of
from clinical.doctor.findings import Check, Count
from clinical.doctor.moments import integers
from clinical.doctor.shard import NEVER
from clinical.profile import SPLITS
from clinical.tasks import SYNTHESIS, TASKS, reads_notes
from clinical.tasks.prediction import PREDICTION_TASKS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from numpy.typing import NDArray

    from clinical.doctor.findings import Counts
    from clinical.doctor.hospital import Hospital
    from clinical.doctor.shard import Shard

_HOUR_US: Final = 3_600_000_000


def _unreadable(hospital: Hospital, _: list[None]) -> Counts | None:
    if not hospital.labels:
        return None
    return {f"labels/{_task(task)}": Count(1) for task, table in hospital.labels.items() if table is None}


UNREADABLE_LABELS = Check(
    "labels-unreadable", "wrong", "files",
    "A table of labels cannot be read, lacks a column, or has rows without exactly one answer.",
    "Write the labels again (`clinical.labels.write_labels`).",
    hospital=_unreadable,
)  # fmt: skip


def _unknown_task(hospital: Hospital, _: list[None]) -> Counts | None:
    strange = sum(not _is_asked(task) for task in hospital.labels)
    return None if not hospital.labels else {"labels/": Count(strange)} if strange else {}


UNKNOWN_TASK = Check(
    "labels-of-unknown-task", "note", "files",
    "Labels are filed under a name that is no task, and no study asks for them.",
    "Rename the file to the task that is meant, or leave it.",
    hospital=_unknown_task,
)  # fmt: skip


def _other_kind(hospital: Hospital, _: list[None]) -> Counts | None:
    def rows(task: str, table: pa.Table) -> int:
        column = "boolean_value" if PREDICTION_TASKS[task].kind == "binary" else "float_value"
        return int(table[column].null_count)

    return _each_task(hospital, rows)


OTHER_KIND = Check(
    "label-of-other-kind", "wrong", "labels",
    "A yes-or-no task has numbers as answers, or the reverse.",
    "Write boolean_value for yes-or-no tasks and float_value for the others.",
    hospital=_other_kind,
)  # fmt: skip


def _outside_limits(hospital: Hospital, _: list[None]) -> Counts | None:
    def rows(task: str, table: pa.Table) -> int:
        low, high = PREDICTION_TASKS[task].limits
        if PREDICTION_TASKS[task].kind == "binary":
            return 0
        answers = np.asarray(table["float_value"].drop_null().to_numpy(), np.float64)
        return int(((answers < low) | (answers > high) | np.isnan(answers)).sum())

    return _each_task(hospital, rows)


OUTSIDE_LIMITS = Check(
    "label-outside-limits", "note", "labels",
    "Answers lie outside what the task allows as an answer, where every prediction is cut.",
    "Nothing, if they are few and right; otherwise look at their unit.",
    hospital=_outside_limits,
)  # fmt: skip


def _of_nobody(hospital: Hospital, people: list[NDArray[np.int64]]) -> Counts | None:
    known = np.concatenate([np.zeros(0, np.int64), *people])
    return _each_task(hospital, lambda _, table: int((~np.isin(integers(table, "subject_id"), known)).sum()))


OF_NOBODY = Check(
    "label-of-nobody", "wrong", "labels",
    "Labels are of patients who have no events.",
    "Write the labels again for the patients who are there.",
    shard=people_of, hospital=_of_nobody,
)  # fmt: skip


def stay_times(shard: Shard) -> NDArray[np.int64]:
    """Gather (stay_id, subject_id, begin, end): int64 [S, 4]."""
    spans = shard.stays
    return np.stack([spans.number, shard.people[spans.patient], spans.begin, spans.end], axis=1)


def _of_no_stay(hospital: Hospital, parts: list[NDArray[np.int64]]) -> Counts | None:
    begun = _begun(parts)

    def rows(_: str, table: pa.Table) -> int:
        return int((_find(begun, table) < 0).sum())

    return _each_task(hospital, rows)


OF_NO_STAY = Check(
    "label-of-no-stay", "wrong", "labels",
    "Labels name a stay that the patient does not have, or one without ICU//IN, and a study refuses them.",
    "Write the labels again from the stays that are there.",
    shard=stay_times, hospital=_of_no_stay,
)  # fmt: skip


def _outside_stay(hospital: Hospital, parts: list[NDArray[np.int64]]) -> Counts | None:
    begun = _begun(parts)

    def rows(_: str, table: pa.Table) -> int:
        place, time = _find(begun, table), integers(table, "prediction_time")
        begin, end = np.append(begun[:, 2], NEVER)[place], np.append(begun[:, 3], NEVER)[place]
        early = time < begin
        # the hour in which a stay ends is asked about as a whole
        late = (end != NEVER) & (time >= np.where(end == NEVER, 0, end) + _HOUR_US)
        return int(((place >= 0) & (early | late)).sum())

    return _each_task(hospital, rows)


LABEL_OUTSIDE_STAY = Check(
    "label-outside-stay", "wrong", "labels",
    "Labels are asked for before the stay began or after it ended.",
    "Write the labels again: the moment of prediction lies within the stay.",
    shard=stay_times, hospital=_outside_stay,
)  # fmt: skip


def _repeated(hospital: Hospital, _: list[None]) -> Counts | None:
    def rows(_: str, table: pa.Table) -> int:
        keys = np.stack([integers(table, name) for name in ("subject_id", "stay_id", "prediction_time")], axis=1)
        return len(keys) - len(np.unique(keys, axis=0))

    return _each_task(hospital, rows)


REPEATED_LABEL = Check(
    "label-repeated", "wrong", "labels",
    "The same stay is asked the same question twice at one moment, with answers that count twice or disagree.",
    "Keep one label for each stay and moment.",
    hospital=_repeated,
)  # fmt: skip


def _constant(hospital: Hospital, _: list[None]) -> Counts | None:
    def rows(_: str, table: pa.Table) -> int:
        answers = [table[name].drop_null().unique() for name in ("boolean_value", "float_value")]
        return len(table) if sum(map(len, answers)) == 1 else 0

    return _each_task(hospital, rows)


CONSTANT = Check(
    "label-constant", "wrong", "labels",
    "Every answer of a task is the same, so there is nothing to learn and nothing to measure.",
    "Look at how the labels were made; leave the task out of this hospital if it is true.",
    hospital=_constant,
)  # fmt: skip


def _one_sided(hospital: Hospital, _: list[None]) -> Counts | None:
    if hospital.splits is None or not hospital.moments:
        return None
    counts: Counts = {}
    for task, asked in hospital.moments.items():
        if asked.positive.all() or not asked.positive.any():
            continue  # said once, for the whole task
        for split in SPLITS:
            here = asked.positive[np.isin(asked.subject, hospital.members(split))]
            if len(here) and (here.all() or not here.any()):
                counts[f"labels/{_task(task)}, {split}"] = Count(len(here))
    return counts


ONE_SIDED = Check(
    "split-one-sided", "doubtful", "stays",
    "All stays of a split have the same answer, so it can neither teach nor measure the task.",
    "Divide the patients again with this task's labels in place; a very rare outcome needs a larger hospital.",
    hospital=_one_sided,
)  # fmt: skip


def _below_cell(hospital: Hospital, _: list[None]) -> Counts | None:
    if hospital.splits is None or not hospital.moments or not hospital.terms.minimum_cell:
        return None
    counts: Counts = {}
    for task, asked in hospital.moments.items():
        for split in SPLITS:
            mine = np.isin(asked.subject, hospital.members(split))
            sides = [len(np.unique(asked.subject[mine & (asked.positive == side)])) for side in (True, False)]
            if 0 < min(sides) < hospital.terms.minimum_cell:
                counts[f"labels/{_task(task)}, {split}"] = Count(min(sides), min(sides))
    return counts


BELOW_CELL = Check(
    "outcome-below-minimum-cell", "note", "patients",
    "A split has fewer patients on one side of the outcome than the site policy's minimum cell, so its numbers for the "
    "task do not leave.",
    "Nothing; results of the task come from the other hospitals.",
    hospital=_below_cell,
)  # fmt: skip


def _readable(hospital: Hospital) -> Iterator[tuple[str, pa.Table]]:
    """List the tasks whose labels can be read."""
    return ((task, table) for task, table in hospital.labels.items() if table is not None and task in PREDICTION_TASKS)


def _each_task(hospital: Hospital, rows: Any) -> Counts | None:
    """Count labels by task; None when there are none."""
    found = {task: rows(task, table) for task, table in _readable(hospital)}
    return {f"labels/{task}": Count(number) for task, number in found.items() if number} if found else None


def _task(name: str) -> str:
    """A task's name; a file's name that is none is not repeated."""
    return name if _is_asked(name) else "(unknown task)"


def _is_asked(name: str) -> bool:
    """Tell whether a task is answered from labels at rest."""
    return name in TASKS and name != SYNTHESIS and not reads_notes(name)


def _begun(parts: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Stays that have begun, sorted by number and patient: int64 [S, 4]."""
    stays = np.concatenate([np.zeros((0, 4), np.int64), *parts])
    stays = stays[stays[:, 2] != NEVER]
    ordered: NDArray[np.int64] = stays[np.lexsort((stays[:, 1], stays[:, 0]))]
    return ordered


def _find(begun: NDArray[np.int64], labels: pa.Table) -> NDArray[np.int64]:
    """Find each label's stay among sorted ones: int64 [L], -1 where it is not there."""
    if not len(begun):
        return np.full(len(labels), -1, np.int64)
    kind = np.dtype([("stay", np.int64), ("subject", np.int64)])
    known, asked = np.empty(len(begun), kind), np.empty(len(labels), kind)
    known["stay"], known["subject"] = begun[:, 0], begun[:, 1]
    asked["stay"], asked["subject"] = integers(labels, "stay_id"), integers(labels, "subject_id")
    place = np.minimum(np.searchsorted(known, asked), len(known) - 1)
    return np.where(known[place] == asked, place, -1)
