"""Tokens: the public vector of an event's code, and the public scale of its number.

A vocabulary that hospitals negotiate says which codes their patients have, and one that is learnt moves with every
patient. Here a code's vector is a function of the code alone, so every hospital has the same without exchanging
anything: the signs of a hash of its text (a fixed random projection of all codes there could be), or what a frozen
sentence encoder makes of its title, which puts codes near each other that mean nearly the same.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow.parquet as pq
from meds import schema as meds

from clinical.codes import title
from clinical.features.concepts import match_codes, scale_each
from clinical.profile import PREFIX_OF_SYSTEM

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from clinical.notes import Encoder

__all__ = ["TEXT_WIDTH", "WIDTH", "read_titles", "scale_values", "signatures", "squash", "text_vectors"]

WIDTH: Final = 64  # of a signature; 48 codes are then nearly at right angles
# of an embedded title: among 400 titles of ICD-10-CM 128 of 384 dimensions keep .67 of the ten nearest, 64 keep .56
TEXT_WIDTH: Final = 128
_KINDS: Final = {
    "LAB": "laboratory", "VITAL": "vital sign", "OBS": "observation", "DIAG": "diagnosis", "PROC": "procedure",
    "MED": "medication ordered", "GIVEN": "medication given", "HOME_MED": "medication at home", "INFUSION": "infusion",
    "INPUT": "intake", "OUTPUT": "output", "MICRO": "microbiology", "TREATMENT": "treatment", "HISTORY": "history",
    "REASON": "reason for admission", "ALLERGY": "allergy", "ICU": "intensive care", "ED": "emergency department",
}  # fmt: skip
# center and spread of numbers that are no concept's: years, cm, kg
_OTHER_SCALES: Final = {
    "AGE//years": (65.0, 15.0),
    "VITAL//Height//cm": (169.0, 11.0),
    "VITAL//Weight//kg": (82.0, 24.0),
}


def signatures(codes: Sequence[str], *, width: int = WIDTH) -> NDArray[np.float32]:
    """Give each code's signature: float32 [C, width], ± 1 / sqrt(width) each, so of length one.

    Guarantee: a function of the code's text alone, whatever the hospital, machine or version of a library.

    >>> float(signatures(["LAB//Lactate//mmol/L"])[0] @ signatures(["LAB//Lactate//mmol/L"])[0])
    1.0
    """
    digests = b"".join(hashlib.shake_256(code.encode()).digest(width // 8) for code in codes)
    bits = np.unpackbits(np.frombuffer(digests, np.uint8)).reshape(len(codes), width)
    return np.asarray((2.0 * bits - 1.0) / np.sqrt(width), np.float32)


def text_vectors(texts: Sequence[str], encoder: Encoder, *, side_car: Path) -> NDArray[np.float32]:
    """Give each title's embedding, projected by fixed signs to the width of a token and of length one.

    Args:
        texts: C titles.
        encoder: the frozen encoder.
        side_car: folder that keeps embeddings.

    Returns:
        float32 [C, 128].
    """
    from clinical.notes import embed_notes

    read = embed_notes(texts, encoder, side_car=side_car, progress=False).mean()
    projected = read @ signatures([f"dimension {number}" for number in range(read.shape[1])], width=TEXT_WIDTH)
    return np.asarray(projected / np.maximum(np.linalg.norm(projected, axis=1, keepdims=True), 1e-12), np.float32)


def read_titles(hospital: Path, codes: Sequence[str]) -> list[str]:
    """Give each code in readable words: a concept's own, the hospital's description, the ICD title, or the code's.

    Args:
        hospital: its ``metadata/codes.parquet`` holds descriptions, which are of codes and never of patients.
        codes: C codes.
    """
    path = hospital / meds.code_metadata_filepath
    described: dict[str, str] = {}
    if path.is_file():
        table = pq.read_table(path, columns=["code", "description"])
        pairs = zip(table["code"].to_pylist(), table["description"].to_pylist(), strict=True)
        described = {code: text for code, text in pairs if text}
    known = match_codes(codes)
    return [
        _own_words(code) if code in known else described.get(code) or _icd(code) or _own_words(code) for code in codes
    ]


def scale_values(codes: Sequence[str], code: NDArray[np.int64], value: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring numbers to public scales: a concept's own, or sign(x) log(1 + |x|) / 3 for what no textbook is asked about.

    Args:
        codes: C codes; a concept's numbers are in its unit.
        code: int64 [S], places in ``codes``; negative ones have no number.
        value: float32 [S], NaN where there is no number.

    Returns:
        float32 [S], within ±5, NaN where the value is.
    """
    scaled = squash(value)
    meaning = match_codes(codes)
    concept = np.array([*(meaning[name].concept if name in meaning else -1 for name in codes), -1], np.int64)
    which = concept[code]
    known = which >= 0
    scaled[known] = scale_each(value[known], which[known])
    for name, (center, spread) in _OTHER_SCALES.items():
        if name in codes:
            at = code == list(codes).index(name)
            scaled[at] = (value[at] - center) / spread
    return np.asarray(np.clip(scaled, -5, 5), np.float32)


def squash(amounts: NDArray[np.float32] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Bring what may be of any size to sign(x) log(1 + |x|) / 3, about one for twenty; NaN stays NaN."""
    return np.asarray(np.sign(amounts) * np.log1p(np.abs(amounts)) / 3.0)


def _icd(code: str) -> str | None:
    """The official title of a billed code."""
    for system, prefix in PREFIX_OF_SYSTEM.items():
        if code.startswith(prefix):
            return title(code.removeprefix(prefix), system=system)  # type: ignore[arg-type] # its keys are the systems
    return None


def _own_words(code: str) -> str:
    """A code's own words, its kind at the end.

    >>> _own_words("LAB//Lactate//mmol/L"), _own_words("MED//aspirin"), _own_words("ICU//IN")
    ('Lactate mmol/L, laboratory', 'aspirin, medication ordered', 'IN, intensive care')
    """
    kind, *rest = (word for word in code.split("//") if word)
    said = _KINDS.get(kind, kind.replace("_", " ").lower())
    return f"{' '.join(rest)}, {said}" if rest else said
