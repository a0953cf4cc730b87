"""A hospital's patients as the study sees them: documents, their embeddings and their labels, split by patient.

What the rounds share is read once a process and kept; a fresh process (each message of a deployment) finds the
embeddings in the hospital's side-car and pays only for reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

from clinical.learning import Examples

if TYPE_CHECKING:
    from typing import Literal

    from clients.hospital import Hospital
    from clinical.notes import Embeddings
    from clinical.tasks.coding import CodingReport, Documents
    from study.protocol import Study


@dataclass(frozen=True, slots=True)
class Cohort:
    """The three splits of one hospital, as examples."""

    train: Examples
    tuning: Examples
    held_out: Examples


def read_documents(study: Study, hospital: Hospital) -> tuple[Documents, CodingReport]:
    """Read the hospital's coded documents under the study's terms."""
    return _documents(str(hospital.path), study.task.codes, study.task.translate_icd9, study.task.maximum_words)


def code_counts(documents: Documents, *, minimum: int) -> dict[str, int]:
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
    task = study.task
    return _cohort(str(hospital.path), study.notes.encoder, task.codes, task.translate_icd9, task.maximum_words, codes)


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
    dataset = build_dataset(documents, embeddings, codes)
    parts = (dataset.split(name) for name in ("train", "tuning", "held_out"))
    return Cohort(*(Examples(part.features, part.labels, part.patient) for part in parts))
