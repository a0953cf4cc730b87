"""Whether events, admissions and stays belong together: every number one patient's, every span with two ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinical.doctor.findings import Check, Count
from clinical.doctor.shard import NEVER

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical.doctor.findings import Counts
    from clinical.doctor.hospital import Hospital
    from clinical.doctor.shard import Shard, Spans


def owned_admissions(shard: Shard) -> NDArray[np.int64]:
    """Gather (hadm_id, subject_id): int64 [A, 2]."""
    return _owners(shard, shard.admissions)


def owned_stays(shard: Shard) -> NDArray[np.int64]:
    """Gather (stay_id, subject_id): int64 [S, 2]."""
    return _owners(shard, shard.stays)


def _owners(shard: Shard, spans: Spans) -> NDArray[np.int64]:
    return np.stack([spans.number, shard.people[spans.patient]], axis=1)


def _shared_admissions(_: Hospital, parts: list[NDArray[np.int64]]) -> Counts | None:
    return _shared(parts, "hadm_id")


SHARED_ADMISSION = Check(
    "admission-of-two-patients", "wrong", "admissions",
    "Events of different patients carry the same admission number, so facts of one are read as the other's.",
    "Take the patient of each admission from the table of admissions and refuse rows that disagree.",
    shard=owned_admissions, hospital=_shared_admissions,
)  # fmt: skip


def _shared_stays(_: Hospital, parts: list[NDArray[np.int64]]) -> Counts | None:
    return _shared(parts, "stay_id")


SHARED_STAY = Check(
    "stay-of-two-patients", "wrong", "stays",
    "Events of different patients carry the same stay number, so facts of one are read as the other's.",
    "Take the patient of each stay from the table of stays and refuse rows that disagree.",
    shard=owned_stays, hospital=_shared_stays,
)  # fmt: skip


def _shared(parts: list[NDArray[np.int64]], column: str) -> Counts | None:
    """Count numbers that several patients carry, and these patients."""
    pairs = np.unique(np.concatenate([np.zeros((0, 2), np.int64), *parts]), axis=0)
    if not len(pairs):
        return None
    _, place, owners = np.unique(pairs[:, 0], return_inverse=True, return_counts=True)
    patients = len(np.unique(pairs[owners[place] > 1, 1]))
    shared = int((owners > 1).sum())
    return {column: Count(shared, patients)} if shared else {}


def _stay_in_two_admissions(shard: Shard) -> Counts:
    stay, admission = shard.stays.of_row, shard.admissions.of_row
    both = (stay >= 0) & (admission >= 0)
    width = max(len(shard.admissions.number), 1)
    pairs = np.unique(stay[both] * width + admission[both])
    several = np.bincount(pairs // width, minlength=len(shard.stays.number)) > 1
    return _spans(shard, shard.stays, several, "stay_id")


STAY_IN_TWO_ADMISSIONS = Check(
    "stay-in-two-admissions", "doubtful", "stays",
    "Events of one stay name different admissions, and one of them is not the stay's.",
    "Take the admission of each stay from the table of stays.",
    shard=_stay_in_two_admissions,
)  # fmt: skip


def _stay_without_begin(shard: Shard) -> Counts:
    return _spans(shard, shard.stays, shard.stays.begin == NEVER, "ICU//IN")


STAY_WITHOUT_BEGIN = Check(
    "stay-without-begin", "doubtful", "stays",
    "Events name a stay that has no ICU//IN, so no hour of it can be placed and its labels are refused.",
    "Bring in the table of stays, or find the stays it lacks.",
    shard=_stay_without_begin,
)  # fmt: skip


def _stay_without_end(shard: Shard) -> Counts:
    spans = shard.stays
    return _spans(shard, spans, (spans.begin != NEVER) & (spans.end == NEVER), "ICU//OUT")


STAY_WITHOUT_END = Check(
    "stay-without-end", "note", "stays",
    "A stay begins and has no ICU//OUT: it had not ended at the export, or the source does not say when.",
    "Nothing, unless the source has the end; lengths of such stays cannot be learnt.",
    shard=_stay_without_end,
)  # fmt: skip


def _stay_ends_first(shard: Shard) -> Counts:
    return _spans(shard, shard.stays, _reversed(shard.stays), "ICU//OUT")


STAY_ENDS_FIRST = Check(
    "stay-ends-before-it-begins", "wrong", "stays",
    "A stay's ICU//OUT lies before its ICU//IN, so its hours count backwards.",
    "Correct the two times at the source, or leave the stay out.",
    shard=_stay_ends_first,
)  # fmt: skip


def _admission_without_begin(shard: Shard) -> Counts:
    return _spans(shard, shard.admissions, shard.admissions.begin == NEVER, "ADMISSION")


ADMISSION_WITHOUT_BEGIN = Check(
    "admission-without-begin", "doubtful", "admissions",
    "Events name an admission that has no ADMISSION event, so nobody knows when it was or whether it was one.",
    "Bring in the table of admissions, or find the admissions it lacks.",
    shard=_admission_without_begin,
)  # fmt: skip


def _admission_without_discharge(shard: Shard) -> Counts:
    spans = shard.admissions
    return _spans(shard, spans, (spans.begin != NEVER) & (spans.end == NEVER), "DISCHARGE")


ADMISSION_WITHOUT_DISCHARGE = Check(
    "admission-without-discharge", "doubtful", "admissions",
    "An admission has no DISCHARGE: the patient was still there at the export, or the discharge was lost, "
    "and what is known only afterwards cannot be told apart.",
    "Leave unfinished admissions out of the export, or bring in their discharges.",
    shard=_admission_without_discharge,
)  # fmt: skip


def _discharge_first(shard: Shard) -> Counts:
    return _spans(shard, shard.admissions, _reversed(shard.admissions), "DISCHARGE")


DISCHARGE_FIRST = Check(
    "discharge-before-admission", "wrong", "admissions",
    "A discharge lies before its admission, so every time that is counted from either is wrong.",
    "Correct the two times at the source, or leave the admission out.",
    shard=_discharge_first,
)  # fmt: skip


def _admitted_twice(shard: Shard) -> Counts:
    return _spans(shard, shard.admissions, shard.admissions.begins > 1, "ADMISSION")


ADMITTED_TWICE = Check(
    "admission-begins-twice", "doubtful", "admissions",
    "One admission number has ADMISSION events at different times: two admissions were taken for one.",
    "Give every admission a number of its own; transfers between wards are WARD// events.",
    shard=_admitted_twice,
)  # fmt: skip


def _unnumbered(shard: Shard) -> Counts:
    return shard.count(shard.named("ADMISSION") & (shard.admissions.of_row < 0), "hadm_id")


UNNUMBERED = Check(
    "admission-without-number", "doubtful", "rows",
    "ADMISSION events carry no hadm_id, so notes and codes of these admissions cannot be joined, nor checked here.",
    "Bring the admission number along from the source.",
    shard=_unnumbered,
)  # fmt: skip


def _reversed(spans: Spans) -> NDArray[np.bool_]:
    """Tell which spans end before they begin: bool [S]."""
    return np.asarray((spans.begin != NEVER) & (spans.end != NEVER) & (spans.end < spans.begin))


def _spans(shard: Shard, spans: Spans, chosen: NDArray[np.bool_], concern: str) -> Counts:
    """Count spans and the patients whose they are."""
    number = int(chosen.sum())
    patients = len(np.unique(shard.people[spans.patient[chosen]]))
    return {concern: Count(number, patients)} if number else {}
