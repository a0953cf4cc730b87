"""Derive a hospital's labels from its events, with a receipt beside each table that says how the cohort came to be.

The receipt lies at `labels/<task>.json` and stays at the hospital, like the labels: its counts are exact.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from clinical.cohorts import LABELLERS
from clinical.cohorts.labeller import holds, in_words
from clinical.cohorts.records import read_record
from clinical.events import ProfileError, read_manifest, scan_events
from clinical.labels import FOLDER, list_labels, write_labels
from clinical.sources.receipt import TIMES_ASSUMED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from clinical.cohorts.attrition import Labelled
    from clinical.cohorts.records import Record

__all__ = ["CohortReceipt", "check_tasks", "derive_labels", "find_obstacles", "label_shards", "list_derivable"]

_COLUMNS: Final = ("subject_id", "time", "code", "numeric_value", "hadm_id", "stay_id")
_ENDING_COLUMNS: Final = ("subject_id", "time", "code", "hadm_id", "text_value")


@dataclass(slots=True)
class CohortReceipt:
    """What became of a task's cohort: found = asked + excluded.

    Attributes:
        task: the task.
        about: what is counted: "stays" or "admissions".
        found: how many there were.
        excluded: how many were left out, by reason, in the order of the reasons.
        asked: how many are left.
        noted: how many of those have something worth knowing.
        patients: whose they are.
        moments: how many labels there are.
        yes: how many of them are a yes; None where the answers are no yes or no.
        mean: the mean answer of a regression, or the mean number of codes; None otherwise.
        absent: facts the definition would use and the hospital does not have.
    """

    task: str
    about: str
    found: int = 0
    excluded: dict[str, int] = field(default_factory=dict)
    asked: int = 0
    noted: dict[str, int] = field(default_factory=dict)
    patients: int = 0
    moments: int = 0
    yes: int | None = None
    mean: float | None = None
    absent: tuple[str, ...] = ()

    def add(self, labelled: Labelled) -> None:
        """Count one shard."""
        self.found += labelled.found
        self.asked += labelled.asked
        for counts, more in ((self.excluded, labelled.excluded), (self.noted, labelled.noted)):
            for reason, number in more.items():
                counts[reason] = counts.get(reason, 0) + number

    def close(self, labels: pa.Table) -> None:
        """Count the answers."""
        self.moments = len(labels)
        self.patients = len(pc.unique(labels["subject_id"]))
        if "codes" in labels.column_names:
            self.mean = pc.mean(pc.list_value_length(labels["codes"])).as_py()
        elif labels["boolean_value"].null_count < len(labels):
            self.yes = pc.sum(labels["boolean_value"]).as_py()
        else:
            self.mean = pc.mean(labels["float_value"]).as_py()

    def write(self, hospital: Path) -> Path:
        """Write it beside the labels and return its path."""
        path = Path(hospital) / FOLDER / f"{self.task}.json"
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return path


def find_obstacles(hospital: Path) -> dict[str, str]:
    """Say for each task why it cannot be derived from a hospital's events; "" where it can.

    Raises:
        ProfileError: the folder is no hospital.
    """
    codes, numbered = _take_stock(hospital)
    assumed = TIMES_ASSUMED in read_manifest(hospital).source
    return {task: _obstacle(task, codes, numbered=numbered, assumed=assumed) for task in LABELLERS}


def _obstacle(task: str, codes: set[str], *, numbered: bool, assumed: bool) -> str:
    labeller = LABELLERS[task]
    missing = [in_words(fact) for fact in labeller.needs if not holds(fact, codes)]
    if missing:
        return f"its events have no {', no '.join(missing)}"
    if "intensive-care stays" in labeller.needs and not numbered:
        return "its intensive-care stays have no stay_id"
    if labeller.between_visits and assumed:
        return "the times between its visits are assumed, so nobody knows when a patient came back"
    return ""


def derive_labels(
    hospital: Path, tasks: Sequence[str], *, progress: Callable[[int], None] | None = None
) -> list[CohortReceipt]:
    """Derive and write the labels of some tasks; earlier labels of theirs are replaced.

    Args:
        hospital: the hospital's folder.
        tasks: names out of `LABELLERS`; each must be free of obstacles (`find_obstacles`).
        progress: called with 1 for each shard.

    Returns:
        One receipt a task, also written to the hospital. A task nobody can be asked about gets a receipt with no
        moments and no labels.

    Raises:
        ValueError: a task is unknown.
        ProfileError: a task cannot be derived; nothing was written.
    """
    check_tasks(hospital, tasks, find_obstacles(hospital))
    codes, _ = _take_stock(hospital)
    receipts = {task: _open(task, codes) for task in tasks}
    labels = label_shards(hospital, tasks, receipts=receipts, progress=progress)
    return [_write(hospital, receipts[task], labels[task]) for task in tasks]


def label_shards(
    hospital: Path,
    tasks: Sequence[str],
    *,
    receipts: Mapping[str, CohortReceipt] | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, pa.Table]:
    """Label a hospital shard by shard without writing anything; see `derive_labels`.

    Args:
        hospital: the hospital's folder.
        tasks: names out of `LABELLERS`, checked already.
        receipts: by task; the cohort's counts are added to them.
        progress: called with 1 for each shard.
    """
    tables: dict[str, list[pa.Table]] = {task: [] for task in tasks}
    for record in _records(hospital):
        for task in tasks:
            labelled = LABELLERS[task].label(record)
            tables[task].append(labelled.labels)
            if receipts is not None:
                receipts[task].add(labelled)
        if progress is not None:
            progress(1)
    return {task: pa.concat_tables(found) for task, found in tables.items()}


def check_tasks(hospital: Path, tasks: Sequence[str], obstacles: Mapping[str, str]) -> None:
    """Refuse tasks that are unknown or that a hospital's events do not allow; see `derive_labels`."""
    for task in tasks:
        if task not in LABELLERS:
            raise ValueError(f"no labels can be derived for the task {task!r}; there are: {', '.join(LABELLERS)}")
        if obstacles[task]:
            raise ProfileError(f"{Path(hospital).name}: {task} cannot be derived: {obstacles[task]}")


def _open(task: str, codes: set[str]) -> CohortReceipt:
    labeller = LABELLERS[task]
    about = "stays" if "intensive-care stays" in labeller.needs else "admissions"
    absent = tuple(in_words(fact) for fact in labeller.improved_by if not holds(fact, codes))
    return CohortReceipt(task, about, absent=absent)


def _write(hospital: Path, receipt: CohortReceipt, labels: pa.Table) -> CohortReceipt:
    if len(labels):
        receipt.close(labels)
        write_labels(hospital, receipt.task, labels)
        receipt.write(hospital)
    return receipt


def _records(hospital: Path) -> Iterator[Record]:
    """Read the hospital one shard at a time; texts only of discharges."""
    known = frozenset(_take_stock(hospital)[0])
    everything = scan_events(hospital, columns=_COLUMNS)
    endings = scan_events(hospital, prefixes=["DISCHARGE"], columns=_ENDING_COLUMNS)
    for events, ending in zip(everything, endings, strict=True):
        yield read_record(events, ending, known=known)


def _take_stock(hospital: Path) -> tuple[set[str], bool]:
    """Name a hospital's codes, and tell whether any intensive-care stay has a number."""
    codes: set[str] = set()
    numbered = False
    for shard in scan_events(hospital, columns=["code", "stay_id"]):
        codes.update(pc.unique(shard["code"]).to_pylist())
        begins = shard.filter(pc.equal(shard["code"], "ICU//IN"))
        numbered |= begins["stay_id"].null_count < len(begins)
    return codes, numbered


def list_derivable(hospital: Path) -> Mapping[str, str]:
    """Tell of each task whether its labels are there, can be derived, or why not: task to one line of words."""
    there = list_labels(hospital)
    said = {}
    for task, obstacle in find_obstacles(hospital).items():
        derived = (Path(hospital) / FOLDER / f"{task}.json").is_file()
        own = ("has labels, derived here; " if derived else "has labels, brought along; ") if task in there else ""
        said[task] = own + (f"cannot be derived: {obstacle}" if obstacle else "can be derived")
    return said
