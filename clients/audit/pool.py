"""The patients of an audit: who trained the model, who did not, and the groups that are looked at by themselves.

Members are the patients of the training split, non-members those of the tuning and held-out splits. The splits were
drawn at random before anything was trained (of coded notes within strata of codes), so the two kinds differ in nothing
but training; there are three times as many members, and every interval counts them apart. Patients none of whose codes
is in the vocabulary trained nothing and are in neither; of every stay that is read something is asked.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from clients import cohort
from clients.audit.patients import Asked, Notes, join_asked, join_notes
from clinical.tasks import reads_notes
from privacy.audits.membership import find_outliers
from privacy.audits.record import Cohort

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clients.audit.patients import Patients
    from clients.audit.subject import Run
    from clients.hospital import Hospital
    from clinical.learning import Examples

_MEMBERS = "Members are the patients of the training split, non-members those of the tuning and held-out splits. "
RULES = {
    "coding": f"{_MEMBERS}The splits were drawn by patient, at random within strata of codes, before training. "
    "A patient's notes, or discharges, make one score.",
    "prediction": f"{_MEMBERS}The splits were drawn by patient, at random, before training. A patient's stays make "
    "one score: the study's loss, averaged over what is asked of a stay and then over stays.",
}
OUTLIERS = "outliers"
_SPLITS = ("train", "tuning", "held_out")
_MOST_VISITS = 3


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Patients of one or more hospitals, P of them, numbered as in `patients`.

    Attributes:
        patients: all of them, with all their examples.
        member: bool [P].
        hospital: int64 [P], which of the audited hospitals.
        groups: bool [P] by the group's name; "all" is not among them.
    """

    patients: Patients
    member: np.ndarray
    hospital: np.ndarray
    groups: dict[str, np.ndarray]

    @property
    def examples(self) -> Examples:
        """The notes of patients that have notes."""
        assert isinstance(self.patients, Notes)  # whoever asks has refused other tasks
        return self.patients.cases

    def digest(self) -> str:
        """Return a SHA-256 of every patient's features, labels and membership."""
        content = hashlib.sha256()
        for array in (*self.patients.arrays(), self.member):
            content.update(np.ascontiguousarray(array).tobytes())
        return content.hexdigest()


def gather(run: Run, hospitals: Sequence[Hospital]) -> Pool:
    """Read the hospitals' patients as the run's training saw them.

    Raises:
        ValueError: no member or no non-member is left.
        ProfileError: a hospital has no labels for the run's task.
    """
    if run.study.task.beside:
        raise ValueError(
            f"the run's model learnt {' and '.join(run.study.task.names)}: patients of several tasks are not attacked "
            "yet; audit a run of one task"
        )
    prediction = run.family == "prediction"
    parts: list[Any] = []
    member, site, classes = [], [], []
    for number, hospital in enumerate(hospitals):
        for name, (patients, own) in (_read_stays if prediction else _read_notes)(run, hospital).items():
            parts.append(patients)
            member.append(np.full(patients.cases.patients, name == "train"))
            site.append(np.full(patients.cases.patients, number))
            classes.append(own)
    joined: Patients = join_asked(run.study, parts) if prediction else join_notes(run.study, parts)
    pool = Pool(joined, np.concatenate(member), np.concatenate(site), {})
    if not pool.member.any() or pool.member.all():
        raise ValueError("an audit needs patients inside and outside the training split: one of the two is empty")
    kind = "stays" if prediction else "notes" if reads_notes(run.study.task.name) else "discharges"
    pool.groups.update(_groups(joined, _together(classes, list(map(len, member))), kind))
    return pool


def describe(pool: Pool, *, minimum_cell: int, family: str) -> tuple[Cohort, dict[str, np.ndarray]]:
    """Count members and non-members by group, and keep only groups that are large enough to be shown.

    Args:
        pool: the patients.
        minimum_cell: fewest members and non-members of a group that is shown.
        family: of the run's task, a key of `RULES`.

    Returns:
        The cohort as it may be published, and the patients of each group kept: bool [P].
    """
    everyone = {"all": np.ones(len(pool.member), dtype=np.bool_), **pool.groups}
    shown, withheld, counts = {}, [], {}
    for name, inside in everyone.items():
        members, others = int((inside & pool.member).sum()), int((inside & ~pool.member).sum())
        if min(members, others) < max(minimum_cell, 1):
            withheld.append(name)
            continue
        shown[name] = inside
        counts[name] = {"members": members, "non_members": others}
    members, others = int(pool.member.sum()), int((~pool.member).sum())
    return Cohort(members, others, minimum_cell, counts, tuple(withheld), RULES[family]), shown


def _read_notes(run: Run, hospital: Hospital) -> dict[str, tuple[Notes, dict[str, np.ndarray]]]:
    """Read patients by split, with the class of each dimension they belong to: bool [P'] by name."""
    parts = cohort.assemble(run.study, hospital, run.codes)
    found = {}
    for name in _SPLITS:
        examples: Examples = getattr(parts, name)
        sexes = _sexes(run, hospital, name, examples.patients)
        classes = {f"sex: {sex}": sexes == sex for sex in sorted(set(sexes.tolist()) - {""})}
        found[name] = (Notes(run.study, examples), classes)
    return found


def _read_stays(run: Run, hospital: Hospital) -> dict[str, tuple[Asked, dict[str, np.ndarray]]]:
    """Read patients by split; who belongs to a class in any stay belongs to it."""
    from clinical.asking import read_questions
    from clinical.learning import Questions
    from clinical.models import MODELS
    from clinical.streams import Streams

    study = run.study
    splits = read_questions(str(hospital.path), study.task.name, MODELS[study.model.name].reads, study.form)
    found = {}
    for name in _SPLITS:
        split = splits[name]
        subjects, owner = np.unique(split.patient, return_inverse=True)
        assert len(subjects) == split.questions.patients  # something is asked of every stay that is read
        asked = split.questions.unrolled() if isinstance(split.questions, Streams) else split.questions
        assert isinstance(asked, Questions)  # `gather` refused prompts
        classes = {group: np.bincount(owner, weights=own) > 0 for group, own in split.groups.items()}
        found[name] = (Asked(run.study, asked), classes)
    return found


def _together(classes: list[dict[str, np.ndarray]], sizes: list[int]) -> dict[str, np.ndarray]:
    """Join the classes of several parts; who is in a part that lacks a class is not in it."""
    names = sorted({name for own in classes for name in own})
    return {
        name: np.concatenate([own.get(name, np.zeros(P, np.bool_)) for own, P in zip(classes, sizes, strict=True)])
        for name in names
    }


def _groups(patients: Patients, classes: dict[str, np.ndarray], kind: str) -> dict[str, np.ndarray]:
    visits = np.minimum(patients.visits(), _MOST_VISITS)
    groups = {OUTLIERS: find_outliers(patients.vectors())} if len(visits) > 10 else {}
    for count in range(1, _MOST_VISITS + 1):
        more = " or more" if count == _MOST_VISITS else ""
        groups[f"{kind}: {count}{more}"] = visits == count
    groups |= classes
    return {name: inside for name, inside in groups.items() if inside.any() and not inside.all()}


def _sexes(run: Run, hospital: Hospital, split: str, patients: int) -> np.ndarray:
    """Return the recorded sex of each patient of a split, "" where none is: str [P']."""
    from clinical.events import scan_events
    from clinical.tasks.coding import label_matrix

    documents, _ = cohort.read_coded(run.study, hospital)
    coded = np.diff(label_matrix(documents, run.codes).indptr) > 0
    subjects = np.unique(documents.subject_id[coded & (np.array(documents.split, dtype=object) == split)])
    assert len(subjects) == patients  # `divide` keeps the same documents and numbers patients in this order
    known = {
        subject: code.removeprefix("GENDER//")
        for events in scan_events(hospital.path, prefixes=["GENDER//"], columns=("subject_id", "code"))
        for subject, code in zip(events["subject_id"].to_pylist(), events["code"].to_pylist(), strict=True)
    }
    return np.array([known.get(int(subject), "") for subject in subjects], dtype=np.str_)
