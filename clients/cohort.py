"""A hospital's patients as the study sees them: what has codes, what a model reads of it and its labels, by patient.

What has codes are discharge notes, read by their embeddings, or discharges, read by the events before them; counting,
training and judging never ask which. What the rounds share is read once a process and kept; a fresh process (each
message of a deployment) finds embeddings in the hospital's side-car and pays only for reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

from clinical.learning import Examples
from clinical.tasks import reads_notes

if TYPE_CHECKING:
    from typing import Literal

    import numpy as np
    from numpy.typing import NDArray

    from clients.hospital import Hospital
    from clinical.asking.discharges import DischargeReport, Discharges
    from clinical.features.form import Form
    from clinical.notes import Embeddings
    from clinical.tasks.coding import Coded, CodingDataset, CodingReport, Documents
    from study.protocol import Study


@dataclass(frozen=True, slots=True)
class Cohort:
    """The three splits of one hospital, as examples."""

    train: Examples
    tuning: Examples
    held_out: Examples


def read_coded(study: Study, hospital: Hospital) -> tuple[Coded, CodingReport | DischargeReport]:
    """Read what has codes, under the study's terms, and what became of everything else.

    Raises:
        ProfileError: the hospital has no labels of the task, or none in the study's label space.
    """
    if reads_notes(study.task.name):
        return read_documents(study, hospital)
    return _discharges(str(hospital.path), study.task.codes)


def describe_features(study: Study, hospital: Hospital) -> tuple[int, str]:
    """Make what a model reads.

    Returns:
        Its width, and what made it: hospitals whose examples differ must not be averaged.
    """
    if reads_notes(study.task.name):
        embeddings, encoder = embed(study, hospital)
        return int(embeddings.vectors.shape[1]), encoder
    rows = _rows(str(hospital.path), study.task.codes, study.form)
    return int(rows.shape[1]), study.form.describe(encoder_of(study.form))


def read_documents(study: Study, hospital: Hospital) -> tuple[Documents, CodingReport]:
    """Read the hospital's coded documents under the study's terms."""
    return _documents(str(hospital.path), study.task.codes, study.task.translate_icd9, study.task.maximum_words)


def code_counts(documents: Coded, *, minimum: int) -> dict[str, int]:
    """Count documents per code as they may leave: codes of few patients or few documents are withheld."""
    from clinical.vocabulary import count_codes, suppress

    return suppress(count_codes(documents, minimum_patients=minimum), minimum=minimum)


def embed(study: Study, hospital: Hospital) -> tuple[Embeddings, str]:
    """Embed the documents, from the side-car where it has them.

    Returns:
        The embeddings, and the identity of the encoder that made them.
    """
    task = study.task
    return _embeddings(str(hospital.path), study.notes.encoder, task.codes, task.translate_icd9, task.maximum_words)


def assemble(study: Study, hospital: Hospital, codes: tuple[str, ...]) -> Cohort:
    """Return the hospital's examples for an agreed vocabulary."""
    task, path = study.task, str(hospital.path)
    if reads_notes(task.name):
        return _cohort(path, study.notes.encoder, task.codes, task.translate_icd9, task.maximum_words, codes)
    return _cohort_of_discharges(path, task.codes, study.form, codes)


def encoder_of(form: Form) -> str:
    """Name the encoder a form reads with; "" where it reads no text."""
    return _encoder(form.encoder).identity if form.reads_text else ""


@lru_cache(maxsize=32)
def _documents(path: str, system: str, translate: bool, words: int) -> tuple[Documents, CodingReport]:  # noqa: FBT001
    from clinical.tasks.coding import read_documents

    return read_documents(
        Path(path), system=cast("Literal['icd9', 'icd10']", system), translate=translate, max_words=words
    )


@lru_cache(maxsize=2)
def _encoder(name: str):  # type: ignore[no-untyped-def]  # noqa: ANN202
    from clinical.notes import load_encoder

    return load_encoder(name)


@lru_cache(maxsize=32)
def _embeddings(path: str, encoder: str, system: str, translate: bool, words: int) -> tuple[Embeddings, str]:  # noqa: FBT001
    from clinical.notes import embed_notes

    documents, _ = _documents(path, system, translate, words)
    model = _encoder(encoder)
    return embed_notes(documents.text, model, side_car=Path(path) / "embeddings", progress=False), model.identity


@lru_cache(maxsize=32)
def _cohort(
    path: str,
    encoder: str,
    system: str,
    translate: bool,  # noqa: FBT001  # a cache key, given by `assemble` alone
    words: int,
    codes: tuple[str, ...],
) -> Cohort:
    from clinical.tasks.coding import build_dataset

    documents, _ = _documents(path, system, translate, words)
    embeddings, _ = _embeddings(path, encoder, system, translate, words)
    return _by_split(build_dataset(documents, embeddings, codes))


@lru_cache(maxsize=32)
def _discharges(path: str, system: str) -> tuple[Discharges, DischargeReport]:
    from clinical.asking.discharges import read_discharges

    return read_discharges(Path(path), system=cast("Literal['icd9', 'icd10']", system))


@lru_cache(maxsize=32)
def _rows(path: str, system: str, form: Form) -> NDArray[np.float32]:
    from clinical.asking.discharges import read_rows

    return read_rows(Path(path), _discharges(path, system)[0], form)


@lru_cache(maxsize=32)
def _cohort_of_discharges(path: str, system: str, form: Form, codes: tuple[str, ...]) -> Cohort:
    from clinical.tasks.coding import divide

    return _by_split(divide(_discharges(path, system)[0], _rows(path, system, form), codes))


def _by_split(dataset: CodingDataset) -> Cohort:
    parts = (dataset.split(name) for name in ("train", "tuning", "held_out"))
    return Cohort(*(Examples(part.features, part.labels, part.patient) for part in parts))
