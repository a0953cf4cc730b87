"""What is asked at a discharge about the next admission: its groups of diagnoses, and the events up to then.

A discharge is to the coding family what a note is: something a patient has, with codes. Its codes come from the labels
at rest (`clinical.cohorts.next_diagnosis`), and what a model reads is one row from the events before it: everything of
the admission that ends, what was before, and nothing of an admission that has not begun.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import pyarrow as pa

from clinical.asking.events import read_states, read_vectors
from clinical.code_groups import GROUP_SYSTEMS
from clinical.events import ProfileError, read_splits
from clinical.features.bags import gather_bags
from clinical.features.tracks import Asked, View, read_tracks
from clinical.labels import read_code_labels
from clinical.tasks import NEXT_DIAGNOSIS
from clinical.tasks.sight import DISCHARGE_SIGHT

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from clinical.features.form import Form

__all__ = ["DISCHARGE_VIEW", "FORMS", "DischargeReport", "Discharges", "read_discharges", "read_rows"]

#: The forms of features that discharges have; both give one row each.
FORMS: Final = ("events", "text")
DISCHARGE_VIEW: Final = View(DISCHARGE_SIGHT, "hadm_id", history=True)


@dataclass(frozen=True, slots=True)
class Discharges:
    """The discharges of one hospital that are followed by an admission: patients ascending, then in order of time.

    Attributes:
        subject_id: int64 [N], the patient.
        hadm_id: int64 [N], the admission that ends; -1 where the source numbers none.
        time: int64 [N], microseconds, when it ends.
        codes: groups of the next admission's diagnoses, sorted and distinct, at least one.
        split: "train", "tuning" or "held_out" of the patient.
    """

    subject_id: NDArray[np.int64]
    hadm_id: NDArray[np.int64]
    time: NDArray[np.int64]
    codes: list[tuple[str, ...]]
    split: list[str]

    def __len__(self) -> int:
        return len(self.codes)


@dataclass(frozen=True, slots=True)
class DischargeReport:
    """What became of a hospital's labels; counts only.

    Attributes:
        documents: discharges that are asked about.
        patients: patients with such a discharge.
        discharges_in_other_system: labels without a group of the asked system, left out.
        groups_in_other_system: (discharge, group) pairs of another system, left out.
    """

    documents: int
    patients: int
    discharges_in_other_system: int
    groups_in_other_system: int


def read_discharges(hospital: Path, *, system: Literal["icd9", "icd10"]) -> tuple[Discharges, DischargeReport]:
    """Read a hospital's labels of the next diagnosis in one label space.

    Groups of ICD-9-CM and of ICD-10-CM codes are two spaces; a group of one has no equivalent in the other, so nothing
    is translated.

    Raises:
        ProfileError: the hospital has no such labels or none with a group of the system, it has no splits, or they
            lack some of the patients.
    """
    labels = read_code_labels(hospital, NEXT_DIAGNOSIS)
    subject = labels["subject_id"].to_numpy()
    admission = labels["stay_id"].fill_null(-1).to_numpy()
    time = labels["prediction_time"].cast(pa.int64()).to_numpy()
    listed, front = labels["codes"].to_pylist(), GROUP_SYSTEMS[system]
    own = [tuple(sorted({code for code in codes if code.startswith(front)})) for codes in listed]
    order = np.lexsort((admission, time, subject))
    kept = [row for row in order.tolist() if own[row]]
    if not kept:
        raise ProfileError(_nothing_asked(hospital, system, labels=len(listed)))
    split_of = read_splits(hospital)
    if absent := len(set(subject[kept].tolist()) - split_of.keys()):
        raise ProfileError(f"the splits lack {absent} patients that have labels; write the splits again")
    discharges = Discharges(
        subject_id=subject[kept],
        hadm_id=admission[kept],
        time=time[kept],
        codes=[own[row] for row in kept],
        split=[split_of[patient] for patient in subject[kept].tolist()],
    )
    foreign = sum(len(set(codes)) for codes in listed) - sum(map(len, own))
    patients = len(np.unique(discharges.subject_id))
    return discharges, DischargeReport(len(kept), patients, len(listed) - len(kept), foreign)


def read_rows(hospital: Path, discharges: Discharges, form: Form) -> NDArray[np.float32]:
    """Give what a model reads of each discharge, in their order: float32 [N, D].

    Raises:
        EncoderUnavailable: the form reads text and its encoder is not on this machine.
    """
    N = len(discharges)
    unknown = np.zeros(N, np.float32)  # what is asked are codes, which stand beside the rows
    asked = Asked(discharges.subject_id, discharges.hadm_id, np.arange(N), discharges.time, unknown)
    tracks = read_tracks(hospital, asked, DISCHARGE_VIEW, events=form.events)
    if form.kind == "text":
        return read_states(hospital, tracks, form)
    return gather_bags(tracks, read_vectors(hospital, tracks.codes, form), form).features


def _nothing_asked(hospital: Path, system: str, *, labels: int) -> str:
    """Say why there is nothing to learn from, and what would be right."""
    if not labels:
        return f"{hospital.name}: its labels of {NEXT_DIAGNOSIS} are empty: nobody was admitted again with a diagnosis"
    (other,) = (each for each in GROUP_SYSTEMS if each != system)
    return (
        f"{hospital.name}: no label of {NEXT_DIAGNOSIS} has a group of {GROUP_SYSTEMS[system][:-2]}, which "
        f"task.codes = {system!r} asks for; they have {GROUP_SYSTEMS[other][:-2]} (task.codes = {other!r})"
    )
