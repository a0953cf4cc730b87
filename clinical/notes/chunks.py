"""Section-aware chunks: slices of a note that the encoder reads whole.

An encoder silently drops what exceeds its window, so cutting must count the encoder's own tokens. Chunks are slices of
the note's text found through the tokenizer's offsets, never decoded tokens: decoding changes the text, which then
tokenises to more pieces and loses its end (cosine down to .94 against the undamaged chunk). Cutting at sections and
sentences rather than at fixed windows keeps a template paragraph the same chunk in every note, so it is embedded once.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from tokenizers import Tokenizer

RULE = "sections-1"
"""Names the rule below in the key of the side-car: a changed rule gets a new name."""

_LEAST_TOKENS = 8
_LINE = re.compile(r"^[ \t]*(\S[^\n]*)", re.MULTILINE)
_MARKDOWN = re.compile(r"#{1,6}\s+\S")
_LABEL = re.compile(r"([^\W\d_][^\n:.;]{1,58}):(?:\s|$)")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")


def chunk_note(text: str, tokenizer: Tokenizer, *, max_tokens: int) -> list[str]:
    """Cut a note at section headings, then sentences, then words, into chunks of at most `max_tokens`.

    A section that fits is one chunk. A longer one is cut between sentences, and a sentence that is too long between
    words. Neighbours of which one is shorter than a quarter of a chunk are joined where both fit, because a heading
    alone or a line "Sex: F" would otherwise weigh as much in the note's mean as a paragraph.

    Args:
        text: the note, any length.
        tokenizer: the encoder's tokenizer, without truncation.
        max_tokens: largest number of tokens of a chunk, special tokens included.

    Returns:
        Stripped slices of the text in reading order; empty for a blank note.

    Guarantee:
        Every chunk tokenises to at most `max_tokens`, and the chunks together hold every character of the note except
        white space, in order.

    Raises:
        ValueError: when `max_tokens` leaves fewer than eight tokens for text.
    """
    capacity = max_tokens - tokenizer.num_special_tokens_to_add(is_pair=False)
    if capacity < _LEAST_TOKENS:
        raise ValueError(
            f"max_tokens={max_tokens} leaves {capacity} tokens for text; it needs at least {_LEAST_TOKENS}"
        )
    starts = _token_starts(text, tokenizer)
    pieces = _join_short(list(_cut_sections(text, starts, capacity)), capacity)
    begins = [0, *(int(starts[first]) for first, _ in pieces[1:]), len(text)]
    slices = (text[a:b].strip() for a, b in pairwise(begins))
    return [chunk for piece in slices if piece for chunk in _fitting(piece, tokenizer, capacity)]


def find_sections(text: str) -> list[int]:
    """Give the character at which each section begins; the first is always 0.

    Headings are markdown ("## Plan"), a capitalised label of up to six words before a colon ("HPI:", "History of
    Present Illness: …"), and lines in capitals ("DISCHARGE MEDICATIONS").
    """
    found = {line.start() for line in _LINE.finditer(text) if _is_heading(line[1].rstrip())}
    return sorted(found | {0})


def _is_heading(line: str) -> bool:
    if _MARKDOWN.match(line):
        return True
    label = _LABEL.match(line)
    if label and line[0].isupper() and len(label[1].split()) <= 6:
        return True
    return line.isupper() and 3 <= len(line) <= 60 and line[-1] not in ".;," and line[0].isalpha()


def _token_starts(text: str, tokenizer: Tokenizer) -> NDArray[np.int64]:
    """Give the character at which each token begins, ascending: int64 [tokens]."""
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets
    return np.fromiter((start for start, _ in offsets), dtype=np.int64, count=len(offsets))


def _cut_sections(text: str, starts: NDArray[np.int64], capacity: int) -> Iterator[tuple[int, int]]:
    """Give the token ranges of sections, long ones cut between sentences."""
    bounds = [*np.searchsorted(starts, find_sections(text)).tolist(), len(starts)]
    sentences = np.searchsorted(starts, [match.end() for match in _SENTENCE.finditer(text)])
    for first, last in pairwise(bounds):
        if 0 < last - first <= capacity:
            yield first, last
        elif last > first:
            inner = sentences[(sentences > first) & (sentences < last)]
            yield from _cut_sentences(text, starts, [first, *np.unique(inner).tolist(), last], capacity)


def _cut_sentences(text: str, starts: NDArray[np.int64], bounds: list[int], capacity: int) -> Iterator[tuple[int, int]]:
    """Pack consecutive sentences into ranges of at most `capacity` tokens; only a longer sentence is cut."""
    first = bounds[0]
    for end, following in zip(bounds[1:], [*bounds[2:], None], strict=True):
        while end - first > capacity:  # one sentence longer than a chunk
            cut = _last_word(text, starts, first, first + capacity)
            yield first, cut
            first = cut
        if following is None or following - first > capacity:
            yield first, end
            first = end


def _last_word(text: str, starts: NDArray[np.int64], first: int, last: int) -> int:
    """Give the last token in (first, last] that begins a word; `last` itself when one word fills the range."""
    for token in range(last, first, -1):
        if text[starts[token]].isspace() or text[starts[token] - 1].isspace():
            return token
    return last


def _join_short(pieces: list[tuple[int, int]], capacity: int) -> list[tuple[int, int]]:
    """Join neighbours that fit together when either is short."""
    joined: list[tuple[int, int]] = []
    for first, last in pieces:
        if joined and last - joined[-1][0] <= capacity:
            before = joined[-1]
            if min(before[1] - before[0], last - first) < capacity // 4:
                joined[-1] = (before[0], last)
                continue
        joined.append((first, last))
    return joined


def _fitting(piece: str, tokenizer: Tokenizer, capacity: int) -> Iterator[str]:
    """Give the piece, or its halves where a slice tokenises to more pieces than it did inside the note."""
    if len(tokenizer.encode(piece, add_special_tokens=False)) <= capacity or len(piece) == 1:
        yield piece
        return
    middle = len(piece) // 2
    space = piece.rfind(" ", 1, middle)
    cut = space if space > 0 else middle
    for half in (piece[:cut].strip(), piece[cut:].strip()):
        if half:
            yield from _fitting(half, tokenizer, capacity)
