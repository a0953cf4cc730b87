"""Whether notes and codes meet, as ICD coding needs it: every note a text, an admission and codes, and the reverse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow.compute as pc

from clinical.doctor.findings import Check, Count, add_counts
from clinical.doctor.icd import icd_rows
from clinical.events import DISCHARGE_NOTE
from clinical.profile import NOTE_PREFIX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from clinical.doctor.findings import Counts
    from clinical.doctor.hospital import Hospital
    from clinical.doctor.shard import Shard

# what a decoder leaves of bytes it cannot read, and UTF-8 read as Latin-1
_BROKEN: Final = "\ufffd|Ã[\u0080-\u00bf]|Â[\u0080-\u00bf]|â€"


def _blank(shard: Shard) -> Counts:
    return shard.count(shard.starting(NOTE_PREFIX) & ~shard.has_text, "text_value")


BLANK_NOTE = Check(
    "note-without-text", "doubtful", "rows",
    "Notes have no text, and coding leaves them out.",
    "Bring the text along from the source, or leave the note out.",
    shard=_blank,
)  # fmt: skip


def _badly_decoded(shard: Shard) -> Counts:
    notes = shard.starting(NOTE_PREFIX)
    broken = pc.fill_null(pc.match_substring_regex(shard.events["text_value"], _BROKEN), False)
    return shard.count(notes & np.asarray(broken.to_numpy(), bool), "text_value")


BADLY_DECODED = Check(
    "note-badly-decoded", "doubtful", "rows",
    "Notes hold characters that a wrong encoding leaves behind.",
    "Ingest again with the right --encoding.",
    shard=_badly_decoded,
)  # fmt: skip


def _note_hashes(shard: Shard) -> NDArray[np.int64]:
    """Gather (hash of the text, subject_id) of each discharge note: int64 [notes, 2]."""
    rows = np.flatnonzero(shard.named(DISCHARGE_NOTE) & shard.has_text)
    texts: Sequence[str] = shard.events["text_value"].take(rows).to_pylist()
    hashes = np.fromiter(map(hash, texts), np.int64, len(texts))
    return np.stack([hashes, shard.subject[rows]], axis=1)


def _same_text(_: Hospital, parts: list[NDArray[np.int64]]) -> Counts | None:
    pairs = np.unique(np.concatenate([np.zeros((0, 2), np.int64), *parts]), axis=0)
    if not len(pairs):
        return None
    _, place, owners = np.unique(pairs[:, 0], return_inverse=True, return_counts=True)
    texts, patients = int((owners > 1).sum()), len(np.unique(pairs[owners[place] > 1, 1]))
    return {"text_value": Count(texts, patients)} if texts else {}


SAME_TEXT = Check(
    "note-of-two-patients", "doubtful", "texts",
    "The same discharge note, letter for letter, stands in the records of several patients: a join went wrong, or it "
    "is a template that nobody filled in.",
    "Look at how notes are joined to patients; leave unfilled templates out.",
    shard=_note_hashes, hospital=_same_text,
)  # fmt: skip


def _loose_notes(shard: Shard) -> Counts:
    return shard.count(shard.named(DISCHARGE_NOTE) & (shard.admissions.of_row < 0), DISCHARGE_NOTE)


LOOSE_NOTE = Check(
    "note-without-admission", "doubtful", "rows",
    "Discharge notes name no admission, so no code can be joined to them.",
    "Bring the admission number of each note along.",
    shard=_loose_notes,
)  # fmt: skip


def _sides(shard: Shard) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell which admissions have a note with text, and which have ICD codes: bool [A] each."""
    of_row, size = shard.admissions.of_row, len(shard.admissions.number)
    notes = shard.named(DISCHARGE_NOTE) & shard.has_text & (of_row >= 0)
    coded = icd_rows(shard) & (of_row >= 0)
    noted, has_codes = (np.bincount(of_row[rows], minlength=size) > 0 for rows in (notes, coded))
    return noted, has_codes


def _census(shard: Shard) -> tuple[int, int, Counts, Counts]:
    """Gather admissions with notes, with codes, with notes only and with codes only."""
    noted, coded = _sides(shard)
    patient = shard.admissions.patient
    only = []
    for chosen, concern in ((noted & ~coded, "DIAG// and PROC//"), (coded & ~noted, DISCHARGE_NOTE)):
        number = int(chosen.sum())
        only.append({concern: Count(number, len(np.unique(patient[chosen])))} if number else {})
    return int(noted.sum()), int(coded.sum()), only[0], only[1]


def _uncoded(_: Hospital, parts: list[tuple[int, int, Counts, Counts]]) -> Counts | None:
    return add_counts(part[2] for part in parts) if _both(parts) else None


UNCODED = Check(
    "note-without-codes", "note", "admissions",
    "Admissions have a discharge note and no ICD code, and coding leaves them out.",
    "Nothing, if they were never coded; otherwise look at how codes are joined to admissions.",
    shard=_census, hospital=_uncoded,
)  # fmt: skip


def _unwritten(_: Hospital, parts: list[tuple[int, int, Counts, Counts]]) -> Counts | None:
    return add_counts(part[3] for part in parts) if _both(parts) else None


UNWRITTEN = Check(
    "codes-without-note", "note", "admissions",
    "Admissions have ICD codes and no discharge note with a text, and coding leaves them out.",
    "Nothing, if there is no note; otherwise look at how notes are joined to admissions.",
    shard=_census, hospital=_unwritten,
)  # fmt: skip


def _both(parts: list[tuple[int, int, Counts, Counts]]) -> bool:
    """Tell whether the hospital has notes and codes at all; one alone is no fault."""
    return any(part[0] for part in parts) and any(part[1] for part in parts)


def _loose_codes(shard: Shard) -> Counts:
    return shard.count(icd_rows(shard) & (shard.admissions.of_row < 0), "hadm_id")


LOOSE_CODE = Check(
    "codes-without-admission", "note", "rows",
    "ICD codes name no admission, so they label no note.",
    "Nothing, if they are of outpatients; otherwise bring the admission number along.",
    shard=_loose_codes,
)  # fmt: skip
