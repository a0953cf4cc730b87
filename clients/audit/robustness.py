"""Robustness: how often small edits of a note change the codes a trained model gives it.

Each held-out note of one hospital is edited in four ways (`clinical.notes.perturbations`), embedded by the run's own
frozen encoder, and given to the run's model at the run's own thresholds. A rate means little alone, so it stands
between two baselines: the unedited note embedded again, which shows what numerics do, and as many words edited at
random, which shows what any edit does. Edited texts and their vectors live in a temporary folder and are gone
afterwards.

The latent rate asks the same in the space of the notes' main directions: notes before and after the edit are projected
on the principal components of the training notes, and the model judges the projections. What flips there has moved
along directions in which real notes differ; what flips only outside has moved where no note lies.

Source: LAPD and its latent diagnosis flip rate, Vijayaraj 2025, arXiv:2507.21188. There a classifier is fitted in the
reduced space; here the trained model itself judges in it, since it is the model that is audited.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clients import cohort
from clients.audit.flips import Flips, Patients
from clinical.notes.perturbations import PERTURBATIONS, Perturbed, edit_at_random, perturb

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from clients.audit.trained import Trained
    from clients.hospital import Hospital

FORMAT = 1
LIMITS = (
    "Edits follow a short word list, not a clinician: they touch only what it names.",
    "Masking and negation change what a note says, so codes may change with reason; a rate is no error rate.",
    "The patients are this hospital's held-out ones; rates of other hospitals may differ.",
)


@dataclass(frozen=True, slots=True)
class Edits:
    """How notes are edited and compared.

    Attributes:
        seed: of all edits and of the bootstrap.
        share: of a note's editable places, in (0, 1].
        language: of the notes, a key of `clinical.notes.lexicon.LEXICONS`.
        patients: at most so many held-out patients are drawn.
        explained: share of the training notes' variance that the principal components keep, in (0, 1).
    """

    seed: int = 7
    share: float = 0.5
    language: str = "en"
    patients: int = 200
    explained: float = 0.9


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """The main directions of the training notes.

    Attributes:
        centre: float32 [D], their mean.
        axes: float32 [d, D], orthonormal.
        explained: share of the variance along them.
    """

    centre: np.ndarray
    axes: np.ndarray
    explained: float

    @classmethod
    def of(cls, features: np.ndarray, *, explained: float) -> Plane:
        """Find the fewest directions that keep a share of the variance of float32 [N, D].

        Raises:
            ValueError: there are fewer than two notes that differ.
        """
        centre = features.mean(axis=0)
        _, spread, axes = np.linalg.svd(features - centre, full_matrices=False)
        if len(features) < 2 or not spread[0] > 0:
            raise ValueError("principal components need at least two training notes that differ")
        kept = np.cumsum(spread**2) / (spread**2).sum()
        count = int(np.searchsorted(kept, explained)) + 1
        return cls(centre, axes[:count], float(kept[count - 1]))

    def project(self, features: np.ndarray) -> np.ndarray:
        """Drop everything outside these directions: float32 [N, D]."""
        flat: np.ndarray = (self.centre + (features - self.centre) @ self.axes.T @ self.axes).astype(np.float32)
        return flat


def measure(
    trained: Trained, hospital: Hospital, edits: Edits, *, command: str, advance: Callable[[str], None]
) -> dict[str, Any]:
    """Edit a hospital's held-out notes and count whose codes change.

    Args:
        trained: the run's model.
        hospital: whose notes.
        edits: how they are edited.
        command: what the record says to type.
        advance: called with the name of each arm when it is done.

    Returns:
        The content of ``robustness.json``: rates and counts, no text.

    Raises:
        ValueError: the hospital's encoder is not the run's, or it has fewer held-out patients than its minimum cell.
    """
    started = time.monotonic()
    notes = _gather(trained, hospital, edits)
    plane = Plane.of(notes.train, explained=edits.explained)
    texts = {"unedited": [Perturbed(text, 0) for text in notes.texts]}
    for number, kind in enumerate(PERTURBATIONS):
        draw = np.random.default_rng([edits.seed, number])
        texts[kind] = [perturb(t, kind, draw, share=edits.share, language=edits.language) for t in notes.texts]
        texts[f"random {kind}"] = [
            edit_at_random(text, draw, words=done.words) for text, done in zip(notes.texts, texts[kind], strict=True)
        ]
    flips = _judge(trained, notes, plane, texts, advance)
    return {
        "format": FORMAT,
        "kind": "robustness",
        **trained.names,
        "hospital": hospital.name,
        "documents": len(notes.texts),
        "patients": notes.patients.count,
        "codes": len(trained.codes),
        "rule": trained.study.evaluation.threshold,
        "components": len(plane.axes),
        "explained": plane.explained,
        "unedited": notes.patients.rates(flips["unedited"], seed=edits.seed),
        "perturbations": [_row(kind, texts[kind], flips, notes.patients, edits) for kind in PERTURBATIONS],
        "method": _method(edits, plane),
        "limits": list(LIMITS),
        "command": command,
        "seeds": {"edits": edits.seed},
        "software": {name: version(name) for name in ("torch", "numpy", "sentence-transformers")},
        "seconds": {"total": time.monotonic() - started},
    }


@dataclass(frozen=True, slots=True, eq=False)
class _Notes:
    """Held-out notes of the drawn patients, patient-contiguous, and the vectors of the training notes."""

    texts: list[str]
    features: np.ndarray  # [N, D] as the run saw them
    patients: Patients
    train: np.ndarray  # [N', D]


def _gather(trained: Trained, hospital: Hospital, edits: Edits) -> _Notes:
    documents, _ = cohort.read_documents(trained.study, hospital)
    embeddings, identity = cohort.embed(trained.study, hospital)
    if identity not in trained.encoders:
        raise ValueError(f"the run read notes with {', '.join(sorted(trained.encoders))}, this machine with {identity}")
    split, vectors = np.array(documents.split, dtype=object), embeddings.mean()
    held_out = np.unique(documents.subject_id[split == "held_out"])
    if len(held_out) < max(hospital.policy.minimum_cell, 2):
        raise ValueError(f"{hospital.name} has too few held-out patients for a rate that may be shown")
    drawn = np.random.default_rng([edits.seed, 99]).permutation(held_out)[: edits.patients]
    rows = np.flatnonzero(np.isin(documents.subject_id, drawn))
    patients = Patients.of(documents.subject_id[rows])
    return _Notes([documents.text[row] for row in rows], vectors[rows], patients, vectors[split == "train"])


def _judge(
    trained: Trained,
    notes: _Notes,
    plane: Plane,
    texts: Mapping[str, Sequence[Perturbed]],
    advance: Callable[[str], None],
) -> dict[str, Flips]:
    """Embed each arm and compare its decisions with those on the notes as they are."""
    from clinical.notes import embed_notes, load_encoder

    encoder = load_encoder(trained.study.notes.encoder)
    before, flat = trained.decide(notes.features), trained.decide(plane.project(notes.features))
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, arm in texts.items():
            features = embed_notes([one.text for one in arm], encoder, side_car=Path(scratch), progress=False).mean()
            after, flat_after = trained.decide(features), trained.decide(plane.project(features))
            found[name] = Flips.between(before, after, flat, flat_after)
            advance(name)
    return found


def _row(
    kind: str, arm: Sequence[Perturbed], flips: Mapping[str, Flips], patients: Patients, edits: Edits
) -> dict[str, Any]:
    """One perturbation beside as many random edits."""
    own, random = flips[kind], flips[f"random {kind}"]
    return {
        "name": kind,
        "edited_notes": sum(one.words > 0 for one in arm),
        "edited_words": sum(one.words for one in arm),
        **patients.rates(own, seed=edits.seed),
        "random": patients.rates(random, seed=edits.seed),
        "excess": patients.difference(own, random, seed=edits.seed),
    }


def _method(edits: Edits, plane: Plane) -> list[str]:
    drawn = (
        f"In each note {edits.share:.3g} of the places that the word list of the language {edits.language} finds are "
        f"edited, at least one; all draws follow seed {edits.seed}."
    )
    changed = "Codes changed: patients of whom at least one note gets another set of codes; exact binomial intervals."
    decisions = (
        "Decisions changed: codes given before or after the edit but not both, of all given before or after; intervals "
        "by bootstrap over patients, as are those of the difference to as many random edits."
    )
    projected = (
        f"In the main directions: patients with changed codes after notes are projected on the {len(plane.axes)} "
        f"principal components of the training notes, which hold {plane.explained:.3f} of their variance."
    )
    return [drawn, changed, decisions, projected]
