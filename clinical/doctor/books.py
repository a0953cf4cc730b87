"""Whether the numbers agree: the manifest, the receipt of the ingest and the splits with the events that are there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from meds import schema as meds

from clinical.doctor.files import people_of
from clinical.doctor.findings import Check, Count
from clinical.profile import NOTE_PREFIX, SPLITS
from clinical.sources.receipt import RECEIPT_PATH

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical.doctor.findings import Counts
    from clinical.doctor.hospital import Hospital
    from clinical.doctor.shard import Shard

_MANIFEST = meds.dataset_metadata_filepath
_SPLITS = meds.subject_splits_filepath
_CODES = meds.code_metadata_filepath


def _unreadable_manifest(hospital: Hospital, _: list[None]) -> Counts:
    return {} if hospital.manifest else {_MANIFEST: Count(1)}


UNREADABLE_MANIFEST = Check(
    "manifest-unreadable", "wrong", "files",
    "The description of the data set cannot be read, and no study starts without it.",
    "Write the hospital again, or restore the file from a copy.",
    hospital=_unreadable_manifest,
)  # fmt: skip


def _manifest_patients(hospital: Hospital, people: list[NDArray[np.int64]]) -> Counts | None:
    return _differing(hospital.manifest and hospital.manifest.patients, len(_everybody(people)), _MANIFEST)


MANIFEST_PATIENTS = Check(
    "manifest-patients-differ", "wrong", "patients",
    "The manifest states another number of patients than there are: events were lost or added after it was written.",
    "Write the hospital again from its source.",
    shard=people_of, hospital=_manifest_patients,
)  # fmt: skip


def _notes(shard: Shard) -> int:
    return int(shard.starting(NOTE_PREFIX).sum())


def _manifest_documents(hospital: Hospital, notes: list[int]) -> Counts | None:
    return _differing(hospital.manifest and hospital.manifest.documents, sum(notes), _MANIFEST)


MANIFEST_DOCUMENTS = Check(
    "manifest-documents-differ", "wrong", "notes",
    "The manifest states another number of notes than there are: notes were lost or added after it was written.",
    "Write the hospital again from its source.",
    shard=_notes, hospital=_manifest_documents,
)  # fmt: skip


def _unreadable_receipt(hospital: Hospital, _: list[None]) -> Counts | None:
    if hospital.receipt is None:
        return None
    return {} if hospital.receipt else {RECEIPT_PATH: Count(1)}


UNREADABLE_RECEIPT = Check(
    "receipt-unreadable", "doubtful", "files",
    "The receipt of the ingest cannot be read, so nobody can say what was taken and what was refused.",
    "Restore the file from a copy, or ingest again.",
    hospital=_unreadable_receipt,
)  # fmt: skip


def _receipt_patients(hospital: Hospital, people: list[NDArray[np.int64]]) -> Counts | None:
    return _differing((hospital.receipt or {}).get("patients"), len(_everybody(people)), RECEIPT_PATH)


RECEIPT_PATIENTS = Check(
    "receipt-patients-differ", "wrong", "patients",
    "The ingest wrote another number of patients than there are now.",
    "Ingest again, or find out who changed the hospital's files since.",
    shard=people_of, hospital=_receipt_patients,
)  # fmt: skip


def _receipt_events(hospital: Hospital, _: list[None]) -> Counts | None:
    stated = (hospital.receipt or {}).get("events")
    if not isinstance(stated, Mapping) or not all(type(number) is int for number in stated.values()):
        return None
    # a YAIB receipt counts labels beside events
    written = sum(number for table, number in stated.items() if not table.endswith("/outc"))
    return _differing(written, sum(file.rows for file in hospital.files), RECEIPT_PATH)


RECEIPT_EVENTS = Check(
    "receipt-events-differ", "wrong", "rows",
    "The ingest wrote another number of events than there are now.",
    "Ingest again, or find out who changed the hospital's files since.",
    hospital=_receipt_events,
)  # fmt: skip


def _unbalanced(hospital: Hospital, _: list[None]) -> Counts | None:
    receipt = hospital.receipt or {}
    tables = receipt.get("tables", {name: receipt[name] for name in ("notes", "codes") if name in receipt})
    if not (isinstance(tables, Mapping) and tables):
        return None
    wrong = sum(not _balances(table) for table in tables.values())
    return {RECEIPT_PATH: Count(wrong)} if wrong else {}


UNBALANCED = Check(
    "receipt-does-not-add-up", "wrong", "tables",
    "Rows read are not rows kept plus rows refused, so rows went missing without a reason or the receipt was edited.",
    "Ingest again and keep the receipt as it is written.",
    hospital=_unbalanced,
)  # fmt: skip


def _balances(table: Any) -> bool:
    try:
        return bool(table["read"] == table["kept"] + sum(table["refused"].values()))
    except (KeyError, TypeError, AttributeError):
        return False


def _no_splits(hospital: Hospital, _: list[None]) -> Counts:
    return {_SPLITS: Count(1)} if hospital.splits is None else {}


NO_SPLITS = Check(
    "splits-unreadable", "wrong", "files",
    "There is no table of splits that can be read, so nobody knows who may be trained on.",
    "Write the hospital again; every ingest and division draws splits.",
    hospital=_no_splits,
)  # fmt: skip


def _unknown_split(hospital: Hospital, _: list[None]) -> Counts | None:
    if hospital.splits is None:
        return None
    known = pc.is_in(hospital.splits["split"], value_set=pa.array(SPLITS))
    strange = len(hospital.splits) - (pc.sum(known).as_py() or 0)
    return {_SPLITS: Count(strange, strange)} if strange else {}


UNKNOWN_SPLIT = Check(
    "split-unknown", "wrong", "patients",
    "Patients are in a split that is neither train, tuning nor held_out, and a study refuses the table.",
    "Write the splits again with these three names.",
    hospital=_unknown_split,
)  # fmt: skip


def _without_split(hospital: Hospital, people: list[NDArray[np.int64]]) -> Counts | None:
    if hospital.splits is None:
        return None
    return _people(np.setdiff1d(_everybody(people), _assigned(hospital)))


WITHOUT_SPLIT = Check(
    "patient-without-split", "wrong", "patients",
    "Patients with events are in no split, and a study that meets one refuses to go on.",
    "Write the splits again for every patient.",
    shard=people_of, hospital=_without_split,
)  # fmt: skip


def _split_without_events(hospital: Hospital, people: list[NDArray[np.int64]]) -> Counts | None:
    if hospital.splits is None:
        return None
    return _people(np.setdiff1d(_assigned(hospital), _everybody(people)))


SPLIT_WITHOUT_EVENTS = Check(
    "split-of-nobody", "wrong", "patients",
    "The splits name patients who have no events, so the size of the training cohort, and the noise planned with it, "
    "are wrong.",
    "Write the splits again for the patients who are there.",
    shard=people_of, hospital=_split_without_events,
)  # fmt: skip


def _in_two_splits(hospital: Hospital, _: list[None]) -> Counts | None:
    if hospital.splits is None:
        return None
    subject = np.asarray(pc.drop_null(hospital.splits["subject_id"]).to_numpy(), np.int64)
    who, times = np.unique(subject, return_counts=True)
    return _people(who[times > 1])


IN_TWO_SPLITS = Check(
    "patient-in-two-splits", "wrong", "patients",
    "The splits name a patient twice, and one who is trained on and tested on flatters the result.",
    "Write the splits again with each patient once.",
    hospital=_in_two_splits,
)  # fmt: skip


def _spelled_codes(shard: Shard) -> set[str]:
    return set(shard.codes)


def _unlisted(hospital: Hospital, parts: list[set[str]]) -> Counts | None:
    try:
        listed = set(pq.ParquetFile(hospital.folder / _CODES).read(columns=["code"])["code"].to_pylist())
    except (pa.ArrowException, OSError, ValueError, KeyError):
        return {_CODES: Count(len(set().union(*parts)))} if parts else None
    unlisted = len(set().union(*parts) - listed)
    return {_CODES: Count(unlisted)} if unlisted else {}


UNLISTED = Check(
    "code-not-listed", "note", "codes",
    "Codes of events are not in the hospital's table of codes, or it cannot be read: they have no title in reports.",
    "Write the hospital again; the writer lists every code.",
    shard=_spelled_codes, hospital=_unlisted,
)  # fmt: skip


def _everybody(people: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    everybody: NDArray[np.int64] = np.unique(np.concatenate([np.zeros(0, np.int64), *people]))
    return everybody


def _assigned(hospital: Hospital) -> NDArray[np.int64]:
    assigned: NDArray[np.int64] = np.unique(np.concatenate([hospital.members(split) for split in SPLITS]))
    return assigned


def _people(who: NDArray[np.int64]) -> Counts:
    return {_SPLITS: Count(len(who), len(who))} if len(who) else {}


def _differing(stated: Any, found: int, place: str) -> Counts | None:
    """Count by how much a stated number differs; None when none is stated."""
    if type(stated) is not int:
        return None
    return {place: Count(abs(stated - found))} if stated != found else {}
