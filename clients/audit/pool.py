"""The patients of an audit: who trained the model, who did not, and the groups that are looked at by themselves.

Members are the patients of the training split, non-members those of the tuning and held-out splits. The splits were
drawn at random within strata of codes before anything was trained, so the two kinds differ in nothing but training;
there are three times as many members, and every interval counts them apart. Patients none of whose codes is in the
vocabulary trained nothing and are in neither.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clients import cohort
from clinical.learning import Examples
from privacy.audits.membership import by_patient, find_outliers
from privacy.audits.record import Cohort

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from clients.audit.subject import Run
    from clients.hospital import Hospital

RULE = (
    "Members are the patients of the training split, non-members those of the tuning and held-out splits. The splits "
    "were drawn by patient, at random within strata of codes, before training. A patient's notes make one score."
)
OUTLIERS = "outliers"
_SPLITS = ("train", "tuning", "held_out")
_BLOCK = 1 << 24
_LARGEST_NOTES = 3


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Patients of one or more hospitals, P of them, numbered as in `examples`.

    Attributes:
        examples: all documents of all of them.
        member: bool [P].
        hospital: int64 [P], which of the audited hospitals.
        groups: bool [P] by the group's name; "all" is not among them.
    """

    examples: Examples
    member: np.ndarray
    hospital: np.ndarray
    groups: dict[str, np.ndarray]

    def digest(self) -> str:
        """Return a SHA-256 of every patient's features, labels and membership."""
        content = hashlib.sha256()
        labels = self.examples.labels
        for array in (
            self.examples.features.numpy(),
            self.examples.patient,
            labels.indptr,
            labels.indices,
            self.member,
        ):
            content.update(np.ascontiguousarray(array).tobytes())
        return content.hexdigest()


def gather(run: Run, hospitals: Sequence[Hospital]) -> Pool:
    """Read the hospitals' patients as the run's training saw them.

    Raises:
        ValueError: no member or no non-member is left.
    """
    features, labels, patient, member, site, groups = [], [], [], [], [], []
    first = 0
    for number, hospital in enumerate(hospitals):
        parts = cohort.assemble(run.study, hospital, run.codes)
        for name in _SPLITS:
            examples: Examples = getattr(parts, name)
            features.append(examples.features.numpy())
            labels.append(examples.labels)
            patient.append(examples.patient + first)
            member.append(np.full(examples.patients, name == "train"))
            site.append(np.full(examples.patients, number))
            groups.append(_sexes(run, hospital, name, examples.patients))
            first += examples.patients
    pool = Pool(_join(features, labels, patient), np.concatenate(member), np.concatenate(site), {})
    if not pool.member.any() or pool.member.all():
        raise ValueError("an audit needs patients inside and outside the training split: one of the two is empty")
    sexes = np.concatenate(groups)
    pool.groups.update(_groups(pool, sexes))
    return pool


def patient_losses(model: nn.Module, examples: Examples, *, rows: int = 2048) -> np.ndarray:
    """Return each patient's loss under a model: cross-entropy a code, averaged over notes: float64 [P]."""
    from clinical.learning import predict

    truth = examples.labels
    K = truth.shape[1]
    rows = max(1, min(rows, _BLOCK // K))
    each = []
    for start in range(0, examples.documents, rows):
        logits = predict(model, examples.features[start : start + rows])
        own = truth[start : start + rows].multiply(logits).sum(axis=1)
        each.append(np.logaddexp(0, logits).sum(axis=1, dtype=np.float64) - np.asarray(own, dtype=np.float64).ravel())
    return by_patient(np.concatenate(each) / K, examples.patient)


def describe(pool: Pool, *, minimum_cell: int) -> tuple[Cohort, dict[str, np.ndarray]]:
    """Count members and non-members by group, and keep only groups that are large enough to be shown.

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
    return Cohort(members, others, minimum_cell, counts, tuple(withheld), RULE), shown


def _join(features: list[np.ndarray], labels: list, patient: list[np.ndarray]) -> Examples:
    from scipy.sparse import vstack

    return Examples(np.concatenate(features), vstack(labels).tocsr(), np.concatenate(patient))


def _groups(pool: Pool, sexes: np.ndarray) -> dict[str, np.ndarray]:
    vectors = by_patient(pool.examples.features.numpy().T, pool.examples.patient).T
    notes = np.minimum(np.diff(pool.examples.starts), _LARGEST_NOTES)
    groups = {OUTLIERS: find_outliers(vectors)} if len(vectors) > 10 else {}
    for count in range(1, _LARGEST_NOTES + 1):
        more = " or more" if count == _LARGEST_NOTES else ""
        groups[f"notes: {count}{more}"] = notes == count
    groups |= {f"sex: {sex}": sexes == sex for sex in sorted(set(sexes.tolist()) - {""})}
    return {name: inside for name, inside in groups.items() if inside.any() and not inside.all()}


def _sexes(run: Run, hospital: Hospital, split: str, patients: int) -> np.ndarray:
    """Return the recorded sex of each patient of a split, "" where none is: str [P']."""
    from clinical.events import scan_events
    from clinical.tasks.coding import label_matrix

    documents, _ = cohort.read_documents(run.study, hospital)
    coded = np.diff(label_matrix(documents, run.codes).indptr) > 0
    subjects = np.unique(documents.subject_id[coded & (np.array(documents.split, dtype=object) == split)])
    assert len(subjects) == patients  # `build_dataset` keeps the same documents and numbers patients in this order
    known = {
        subject: code.removeprefix("GENDER//")
        for events in scan_events(hospital.path, prefixes=["GENDER//"], columns=("subject_id", "code"))
        for subject, code in zip(events["subject_id"].to_pylist(), events["code"].to_pylist(), strict=True)
    }
    return np.array([known.get(int(subject), "") for subject in subjects], dtype=np.str_)
