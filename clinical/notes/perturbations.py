"""Edits of a note that a robust model should mostly shrug off, or answer for a reason: four kinds and a baseline.

*mask* takes findings out, *negate* turns what is said of them around, *synonym* says the same in other words and
*numeric* moves measurements within what is plausible. The first two change what is true of the patient, so codes may
change with reason; the last two mostly do not. A *random* edit of as many words has no clinical sense at all and is
what any of them has to be compared with: without it a rate of change says only that the text changed.

All randomness is the generator's: the same note, kind and generator state give the same edit.

Source: the kinds follow LAPD, Vijayaraj 2025, arXiv:2507.21188 (its perturbers are written by a language model; these
follow a word list, so they can be repeated and read).
"""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clinical.notes.lexicon import UNITS, read_lexicon

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy as np

    from clinical.notes.lexicon import Lexicon

_WORD = re.compile(r"[^\W\d_]{3,}")
_SENTENCE_END = re.compile(r"[.!?;\n]")
_REACH = 60  # characters before a finding in which a cue still denies it


@dataclass(frozen=True, slots=True)
class Perturbed:
    """A note after an edit.

    Attributes:
        text: the note.
        words: how many of its words were replaced, taken out or put in; 0 where there was nothing to edit.
    """

    text: str
    words: int


@dataclass(frozen=True, slots=True)
class _Edit:
    """Put `text` where the note has the characters from `start` to `end`."""

    start: int
    end: int
    text: str
    words: int


def perturb(
    text: str, kind: str, generator: np.random.Generator, *, share: float = 0.5, language: str = "en"
) -> Perturbed:
    """Edit a note in one of the four ways.

    Args:
        text: the note.
        kind: a key of `PERTURBATIONS`.
        generator: draws which places are edited and how.
        share: of the places that could be edited, in (0, 1]; at least one is, where there is one.
        language: a key of `clinical.notes.lexicon.LEXICONS`.

    Raises:
        ValueError: no such kind or language, or `share` is out of range.
    """
    if kind not in PERTURBATIONS:
        raise ValueError(f"no perturbation {kind!r}: there are {', '.join(PERTURBATIONS)}")
    if not 0 < share <= 1:
        raise ValueError(f"share must lie in (0, 1], got {share}")
    lexicon = read_lexicon(language)
    possible = PERTURBATIONS[kind](text, lexicon, generator)
    if not possible:
        return Perturbed(text, 0)
    chosen = generator.choice(len(possible), size=max(1, round(share * len(possible))), replace=False)
    return _apply(text, [possible[place] for place in sorted(chosen)])


def edit_at_random(text: str, generator: np.random.Generator, *, words: int) -> Perturbed:
    """Replace words at random places by other words of the same note: the baseline.

    Args:
        text: the note.
        generator: draws places and words.
        words: how many to replace; all of them where the note has fewer.
    """
    found = list(_WORD.finditer(text))
    count = min(words, len(found))
    if not count:
        return Perturbed(text, 0)
    places = sorted(generator.choice(len(found), size=count, replace=False))
    donors = generator.integers(len(found), size=count)
    edits = [
        _Edit(found[place].start(), found[place].end(), found[donor][0], 1)
        for place, donor in zip(places, donors, strict=True)
    ]
    return _apply(text, edits)


def _mask(text: str, lexicon: Lexicon, generator: np.random.Generator) -> list[_Edit]:
    """Take a finding out."""
    del generator
    return [_Edit(*found.span(), lexicon.mask, _count(found[0])) for found in _findings(text, lexicon)]


def _negate(text: str, lexicon: Lexicon, generator: np.random.Generator) -> list[_Edit]:
    """Deny a finding that is stated, and state one that is denied; each cue is taken out once."""
    del generator
    edits: dict[tuple[int, int], _Edit] = {}
    for found in _findings(text, lexicon):
        cue = _cue_before(text, found.start(), lexicon)
        if cue is None:
            place = (found.start(), found.start())
            edits[place] = _Edit(*place, f"{lexicon.denial} ", _count(lexicon.denial))
        else:
            edits[cue.span()] = _Edit(*cue.span(), "", _count(cue[0]))
    return [edits[place] for place in sorted(edits)]


def _synonym(text: str, lexicon: Lexicon, generator: np.random.Generator) -> list[_Edit]:
    """Say a finding in other words of its group."""
    groups = _groups(lexicon)
    edits = []
    for found in _findings(text, lexicon):
        group = groups[found[0]] if found[0] in groups else groups[found[0].lower()]
        others = [term for term in group if term.lower() != found[0].lower()]
        if not others:
            continue
        other = others[int(generator.integers(len(others)))]
        opening = found[0][0].isupper() and not found[0].isupper()
        edits.append(_Edit(*found.span(), other[0].upper() + other[1:] if opening else other, _count(found[0])))
    return edits


def _numeric(text: str, lexicon: Lexicon, generator: np.random.Generator) -> list[_Edit]:
    """Move a number that has a unit, keeping unit and digits, by at most its spread and within its range.

    Numbers with a decimal comma are left alone: in English notes the comma means thousands.
    """
    del lexicon
    edits = []
    for found in _measured().finditer(text):
        digits = len(found["number"].partition(".")[2])
        value, limits = round(float(found["number"]) * 10**digits), UNITS[found["unit"]]  # in units of the last digit
        least = math.ceil(max(limits.low * 10**digits, value * (1 - limits.spread)))
        most = math.floor(min(limits.high * 10**digits, value * (1 + limits.spread)))
        inside = least <= value <= most
        if (others := most - least + 1 - inside) > 0:  # a number too small to move by a digit stays
            drawn = least + int(generator.integers(others))
            drawn += inside and drawn >= value
            edits.append(_Edit(*found.span("number"), f"{drawn / 10**digits:.{digits}f}", 1))
    return edits


#: Kind → where and how it could edit a note.
PERTURBATIONS: dict[str, Callable[[str, Lexicon, np.random.Generator], list[_Edit]]] = {
    "mask": _mask,
    "negate": _negate,
    "synonym": _synonym,
    "numeric": _numeric,
}


def _apply(text: str, edits: Iterable[_Edit]) -> Perturbed:
    """Make edits that are in order and do not overlap."""
    parts, at, words = [], 0, 0
    for edit in edits:
        before = text[at : edit.start]
        gap = not edit.text and text[edit.end : edit.end + 1] == " "  # what is taken out takes one space with it
        parts += [before, edit.text]
        at, words = edit.end + gap, words + edit.words
    return Perturbed("".join([*parts, text[at:]]), words)


def _findings(text: str, lexicon: Lexicon) -> list[re.Match[str]]:
    """Find the lexicon's terms, the longest at each place."""
    return list(_terms(lexicon).finditer(text))


def _cue_before(text: str, place: int, lexicon: Lexicon) -> re.Match[str] | None:
    """Find the cue nearest before a place in the same sentence."""
    window = max(0, place - _REACH)
    ends = [found.end() for found in _SENTENCE_END.finditer(text, window, place)]
    cues = list(_cues(lexicon).finditer(text, max([window, *ends]), place))
    return cues[-1] if cues else None


def _count(text: str) -> int:
    return len(text.split())


@functools.cache
def _terms(lexicon: Lexicon) -> re.Pattern[str]:
    terms = sorted((term for group in lexicon.groups for term in group), key=len, reverse=True)
    written = "|".join(re.escape(term) if _is_abbreviation(term) else f"(?i:{re.escape(term)})" for term in terms)
    return re.compile(rf"(?<![\w-])(?:{written})(?![\w-])")


@functools.cache
def _groups(lexicon: Lexicon) -> dict[str, tuple[str, ...]]:
    """Give each term's group: abbreviations as they stand, all others in lower case."""
    return {term if _is_abbreviation(term) else term.lower(): group for group in lexicon.groups for term in group}


@functools.cache
def _cues(lexicon: Lexicon) -> re.Pattern[str]:
    written = "|".join(re.escape(cue) for cue in sorted(lexicon.cues, key=len, reverse=True))
    return re.compile(rf"(?i)(?<![\w-])(?:{written})(?![\w-])")


@functools.cache
def _measured() -> re.Pattern[str]:
    """Match a number before a unit, also at the beginning of "52 -> 50 mg/dL", never part of a word or a date."""
    units = "|".join(re.escape(unit) for unit in sorted(UNITS, key=len, reverse=True))
    number = r"\d{1,6}(?:\.\d{1,3})?"
    return re.compile(
        rf"(?<![\w.,/^-])(?P<number>{number})(?=(?:\s*(?:->|–|-|to|a|/)\s*{number})*[\s-]*(?P<unit>{units})(?!\w))"
    )


def _is_abbreviation(term: str) -> bool:
    return term.isupper()
