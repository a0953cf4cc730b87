"""ICD coding: from a discharge note to the codes of its admission.

What the task may see: the discharge notes of an admission (addenda included, even when written after discharge) and,
as labels only, the diagnosis and procedure codes billed for *that same* admission. Joining on patient and admission is
what keeps the future out: a code of a later admission never labels an earlier note, and no code is ever an input. A
note with a later timestamp than its discharge would be a leak for a task that predicts during the stay; it is none
here, because coding happens after discharge by definition.

Protocol: Edin et al., SIGIR 2023: diagnoses and procedures merged, duplicates of (admission, code) dropped, notes cut
at 4,000 words, ICD-9 and ICD-10 two separate label spaces, documents left without codes dropped.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import numpy as np

from clinical.events import DISCHARGE_NOTE, PREFIX_OF_SYSTEM, SPLITS, ProfileError, read_splits, scan_events
from clinical.tasks.labels import CodeReader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from clinical.notes import Embeddings

_COLUMNS = ("subject_id", "hadm_id", "time", "code", "text_value")
_WORD = re.compile(r"\S+")


class Coded(Protocol):
    """N things that have codes: notes, or whatever else a hospital is asked for the codes of."""

    @property
    def subject_id(self) -> NDArray[np.int64]:
        """The patient of each: int64 [N]."""

    @property
    def codes(self) -> list[tuple[str, ...]]:
        """The codes of each, sorted and distinct, at least one."""

    @property
    def split(self) -> list[str]:
        """The split of each one's patient: "train", "tuning" or "held_out"."""

    def __len__(self) -> int:
        """N."""


@dataclass(frozen=True, slots=True)
class Documents:
    """The coded documents of one hospital: one per admission, patients contiguous, then in order of time.

    Attributes:
        subject_id: int64 [N], the patient.
        hadm_id: int64 [N], the admission; no pair of patient and admission appears twice.
        text: the admission's discharge notes, joined in order of time.
        codes: dotted codes without prefix, sorted and distinct, at least one.
        split: "train", "tuning" or "held_out" of the patient.
    """

    subject_id: NDArray[np.int64]
    hadm_id: NDArray[np.int64]
    text: list[str]
    codes: list[tuple[str, ...]]
    split: list[str]

    def __len__(self) -> int:
        return len(self.text)


@dataclass(frozen=True, slots=True)
class CodingReport:
    """What became of a hospital's notes and codes; counts only.

    Notes = those joined into documents + duplicates + without text + without admission + in admissions without codes.

    Attributes:
        documents: admissions with text and codes.
        patients: patients with a document.
        notes: discharge-note events found.
        notes_without_text: blank notes, left out.
        notes_without_admission: notes with no admission identifier, left out.
        notes_duplicated: notes equal to another of their admission, kept once.
        notes_without_codes: notes of admissions without a code in the asked system, left out.
        notes_in_other_system: those of them whose admission has codes of another system, or lost in translation.
        notes_truncated: documents cut at the word limit.
        codes_without_note: admissions that have codes but no note with text, left out.
        codes_without_admission: code events with no admission identifier, left out.
        codes_in_other_system: (admission, code) pairs of another system that were not translated, left out.
        unknown_codes: (document, code) pairs whose code is in no release; kept.
        translated: (document, ICD-9 code) pairs with one exact equivalent.
        approximate: (document, ICD-9 code) pairs translated to several or inexact codes.
        lost: (admission, ICD-9 code) pairs with no usable translation, left out.
    """

    documents: int = 0
    patients: int = 0
    notes: int = 0
    notes_without_text: int = 0
    notes_without_admission: int = 0
    notes_duplicated: int = 0
    notes_without_codes: int = 0
    notes_in_other_system: int = 0
    notes_truncated: int = 0
    codes_without_note: int = 0
    codes_without_admission: int = 0
    codes_in_other_system: int = 0
    unknown_codes: int = 0
    translated: int = 0
    approximate: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True)
class CodingPart:
    """One split of a hospital, as arrays a model can be trained on.

    Attributes:
        features: float32 [N, D], the mean embedding of each document.
        labels: bool [N, K], sparse rows.
        patient: int64 [N] in 0..P-1 in ascending order; the unit of privacy.
    """

    features: NDArray[np.float32]
    labels: csr_matrix
    patient: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.patient)


@dataclass(frozen=True, slots=True)
class CodingDataset:
    """A hospital's examples for an agreed vocabulary.

    Attributes:
        parts: one `CodingPart` for each of train, tuning and held_out.
        documents_dropped: documents none of whose codes is in the vocabulary.
        patients_dropped: patients none of whose documents is left.
    """

    parts: dict[str, CodingPart]
    documents_dropped: int
    patients_dropped: int

    def split(self, name: str) -> CodingPart:
        """Give one split; a ValueError names those there are."""
        if name not in self.parts:
            raise ValueError(f"split {name!r} is unknown; it is one of {', '.join(self.parts)}")
        return self.parts[name]


def read_documents(
    hospital: Path, *, system: Literal["icd9", "icd10"], translate: bool, max_words: int = 4000
) -> tuple[Documents, CodingReport]:
    """Join a hospital's discharge notes with the codes of their admissions.

    Args:
        hospital: a hospital directory with splits.
        system: the label space.
        translate: in the "icd10" space, translate ICD-9-CM diagnoses forward (see `clinical.tasks.labels`); without
            effect in the "icd9" space. ICD-9 procedures have no crosswalk here and count as lost.
        max_words: cut a document after this many words, at least 1.

    Returns:
        The documents that have text and codes, and what became of everything else. Codes in no release are kept.

    Raises:
        ProfileError: the directory is no hospital, has no splits, or the splits lack patients that have documents.
        ValueError: `system` is unknown or `max_words` is below 1.
    """
    if max_words < 1:
        raise ValueError(f"max_words={max_words} must be at least 1")
    reader = CodeReader(system, translate=translate)
    prefixes = [DISCHARGE_NOTE, *PREFIX_OF_SYSTEM.values()]
    counts: Counter[str] = Counter()
    found = [
        document
        for events in scan_events(hospital, prefixes=prefixes, columns=_COLUMNS)
        for document in _join_shard(events, reader, counts, max_words=max_words)
    ]
    splits = read_splits(hospital)
    if absent := len({document.subject_id for document in found} - splits.keys()):
        raise ProfileError(f"{hospital}: the splits lack {absent} patients that have documents; write the splits again")
    documents = Documents(
        subject_id=np.array([document.subject_id for document in found], dtype=np.int64),
        hadm_id=np.array([document.hadm_id for document in found], dtype=np.int64),
        text=[document.text for document in found],
        codes=[document.codes for document in found],
        split=[splits[document.subject_id] for document in found],
    )
    patients = len(np.unique(documents.subject_id))
    return documents, CodingReport(documents=len(documents), patients=patients, **counts)


def build_dataset(documents: Documents, embeddings: Embeddings, vocabulary: Sequence[str]) -> CodingDataset:
    """Turn documents into examples for an agreed vocabulary, split by patient.

    Documents without a code of the vocabulary are dropped, and with them patients who have no other. Labels stay
    sparse (122,000 documents of 16 codes are 20 MB; dense they would be 1 GB at 8,000 codes).

    Raises:
        ValueError: embeddings and documents differ in number, or the vocabulary names a code twice.
    """
    if len(embeddings) != len(documents):
        raise ValueError(f"there are embeddings of {len(embeddings)} notes but {len(documents)} documents")
    return divide(documents, embeddings.mean(), vocabulary)


def divide(coded: Coded, features: NDArray[np.float32], vocabulary: Sequence[str]) -> CodingDataset:
    """Turn what has codes, and its features float32 [N, D], into examples as `build_dataset` does.

    Raises:
        ValueError: the vocabulary names a code twice.
    """
    labels = label_matrix(coded, vocabulary)
    kept = np.diff(labels.indptr) > 0
    split = np.array(coded.split, dtype=object)
    parts = {}
    for name in SPLITS:
        rows = np.flatnonzero(kept & (split == name))
        rows = rows[np.argsort(coded.subject_id[rows], kind="stable")]
        patient = np.unique(coded.subject_id[rows], return_inverse=True)[1].astype(np.int64)
        parts[name] = CodingPart(features[rows], labels[rows], patient)
    remaining = len(np.unique(coded.subject_id[kept]))
    patients_dropped = len(np.unique(coded.subject_id)) - remaining
    return CodingDataset(parts, documents_dropped=int((~kept).sum()), patients_dropped=patients_dropped)


def label_matrix(coded: Coded, vocabulary: Sequence[str]) -> csr_matrix:
    """Mark which code of the vocabulary each document has: sparse bool [N, K].

    Codes outside the vocabulary are ignored; a document with none of it keeps an empty row.

    Raises:
        ValueError: when the vocabulary names a code twice.
    """
    from scipy.sparse import csr_matrix

    column = {code: k for k, code in enumerate(vocabulary)}
    if len(column) != len(vocabulary):
        raise ValueError(f"the vocabulary names {len(vocabulary) - len(column)} code(s) twice")
    rows = [sorted({column[code] for code in codes if code in column}) for codes in coded.codes]
    indptr = np.concatenate(([0], np.cumsum([len(row) for row in rows], dtype=np.int64)))
    indices = np.fromiter((k for row in rows for k in row), dtype=np.int64, count=int(indptr[-1]))
    data = np.ones(len(indices), dtype=np.bool_)
    return csr_matrix((data, indices, indptr), shape=(len(rows), len(vocabulary)))


@dataclass(slots=True)
class _Admission:
    """The notes and codes of one admission, as they stand in the events."""

    subject_id: int
    hadm_id: int
    notes: list[tuple[int, str]]  # time in microseconds, text
    codes: set[str]  # with prefix


@dataclass(frozen=True, slots=True)
class _Document:
    subject_id: int
    hadm_id: int
    text: str
    codes: tuple[str, ...]


def _join_shard(events: pa.Table, reader: CodeReader, counts: Counter[str], *, max_words: int) -> Iterator[_Document]:
    """Give the documents of whole patients, and count what is left out."""
    for admission in _gather_admissions(events, counts):
        meaning = reader.read(admission.codes)
        counts.update(codes_in_other_system=meaning.foreign, lost=meaning.lost)
        if not admission.notes:
            counts["codes_without_note"] += 1
        elif not meaning.codes:
            counts["notes_without_codes"] += len(admission.notes)
            counts["notes_in_other_system"] += len(admission.notes) if admission.codes else 0
        else:
            counts.update(unknown_codes=meaning.unknown, translated=meaning.translated, approximate=meaning.approximate)
            text = _join_notes(admission.notes, counts, max_words=max_words)
            yield _Document(admission.subject_id, admission.hadm_id, text, meaning.codes)


def _gather_admissions(events: pa.Table, counts: Counter[str]) -> list[_Admission]:
    """Group note and code events by patient and admission: patients ascending, then first note, then identifier."""
    admissions: dict[tuple[int, int], _Admission] = {}
    times = events.column("time").cast("int64")
    columns = [times if name == "time" else events.column(name) for name in _COLUMNS]
    for row in zip(*(column.to_pylist() for column in columns), strict=True):
        subject_id, hadm_id, time, code, text = cast("tuple[int, int | None, int | None, str, Any]", row)
        is_note = code.startswith(DISCHARGE_NOTE)
        counts["notes"] += is_note
        if is_note and not (text and text.strip()):
            counts["notes_without_text"] += 1
        elif hadm_id is None:
            counts["notes_without_admission" if is_note else "codes_without_admission"] += 1
        else:
            key = (subject_id, hadm_id)
            admission = admissions.setdefault(key, _Admission(subject_id, hadm_id, [], set()))
            if is_note:
                admission.notes.append((_UNTIMED if time is None else time, text))
            else:
                admission.codes.add(code)
    return sorted(admissions.values(), key=_chronological)


_UNTIMED = -(2**63)  # a note without a time comes first, as static events do


def _chronological(admission: _Admission) -> tuple[int, int, int]:
    first = min((time for time, _ in admission.notes), default=_UNTIMED)
    return admission.subject_id, first, admission.hadm_id


def _join_notes(notes: Sequence[tuple[int, str]], counts: Counter[str], *, max_words: int) -> str:
    """Join an admission's distinct notes in order of time and cut the result after `max_words` words."""
    distinct = dict.fromkeys(text.strip() for _, text in sorted(notes, key=lambda note: note[0]))
    counts["notes_duplicated"] += len(notes) - len(distinct)
    text = "\n\n".join(distinct)
    following = next(islice(_WORD.finditer(text), max_words, None), None)
    if following is None:
        return text
    counts["notes_truncated"] += 1
    return text[: following.start()].rstrip()
