"""Embed notes once: chunk what is new, embed the chunks nobody has embedded yet, read the rest from the side-car."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from clinical.notes.chunks import RULE, chunk_note
from clinical.notes.side_car import SideCar, find_keys, text_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from clinical.notes.encoders import Encoder

CHUNK_TOKENS = 128
_SHARD_CHUNKS = 2_048  # about two minutes of one core: what an interruption costs at most
_MEAN_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class Embeddings:
    """The chunk vectors of N notes.

    Attributes:
        vectors: float16 [M, D], the chunks of note 0, then of note 1, and so on.
        offsets: int64 [N + 1]; note n owns rows offsets[n] to offsets[n + 1].
    """

    vectors: NDArray[np.float16]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def chunks(self, n: int) -> NDArray[np.float16]:
        """Give the chunk vectors of note n, a view: float16 [chunks of n, D]."""
        return self.vectors[self.offsets[n] : self.offsets[n + 1]]

    def mean(self) -> NDArray[np.float32]:
        """Average the chunks of each note: float32 [N, D]; a note without text is all zeros."""
        counts = np.diff(self.offsets)
        means = np.zeros((len(self), self.vectors.shape[1]), dtype=np.float32)
        filled = np.flatnonzero(counts)
        cuts = np.searchsorted(self.offsets[filled], np.arange(0, len(self.vectors) + _MEAN_ROWS, _MEAN_ROWS))
        for first, last in pairwise(cuts):  # some notes at a time, so float32 copies stay small
            notes = filled[first:last]
            if len(notes):
                begin, end = self.offsets[notes[0]], self.offsets[notes[-1] + 1]
                sums = np.add.reduceat(self.vectors[begin:end].astype(np.float32), self.offsets[notes] - begin)
                means[notes] = sums / counts[notes, None]
        return means


def embed_notes(
    texts: Sequence[str], encoder: Encoder, *, side_car: Path, progress: bool, max_tokens: int | None = None
) -> Embeddings:
    """Embed every note, reading from the side-car what it has and adding what it lacks.

    Equal texts are embedded once, within a call and over all calls, and so are equal chunks of different notes. New
    chunks are embedded longest first in batches of similar length and kept after every 2,048, so an interrupted call
    goes on where it stopped. Several processes may use one side-car at once.

    Args:
        texts: the notes, N of them; a blank note has no chunks.
        encoder: what `load_encoder` gives; its weights are read only if something is new.
        side_car: the hospital's embeddings directory.
        progress: show a progress bar in tokens on standard error.
        max_tokens: longest chunk in tokens; by default 128 or the encoder's window, whichever is less. 128 is MiniLM's
            training length. An MLP on CodiEsp's mean embeddings reached micro-AP .325, .316, .310 with chunks of 64,
            128, 256 tokens at the same cost, and .295 on notes cut at 256; 64 keeps twice as many vectors as 128.

    Raises:
        EncoderUnavailable: when something is new and the encoder cannot be read.
        ValueError: when `max_tokens` exceeds the encoder's window.
    """
    longest = min(CHUNK_TOKENS, encoder.max_tokens) if max_tokens is None else max_tokens
    if longest > encoder.max_tokens:
        raise ValueError(f"max_tokens={longest} exceeds the window of {encoder.identity}: {encoder.max_tokens} tokens")
    car = SideCar(side_car, identity=encoder.identity, chunking=f"{longest}-tokens.{RULE}")
    keys = text_keys(texts)
    if len(new := _find_new(keys, car)):
        _add_notes([texts[n] for n in new], car, encoder, max_tokens=longest, progress=progress)
    notes, offsets, chunks = car.read_notes()
    place = find_keys(keys, notes)
    counts = np.diff(offsets)[place] if len(place) else np.zeros(0, dtype=np.int64)
    ends = np.concatenate(([0], np.cumsum(counts)))
    rows = np.arange(ends[-1]) + np.repeat(offsets[place] - ends[:-1], counts)
    vectors = car.gather(chunks[rows]) if len(rows) else np.empty((0, encoder.dimension), dtype=np.float16)
    return Embeddings(vectors, ends)


def _find_new(keys: NDArray[np.bytes_], car: SideCar) -> NDArray[np.int64]:
    """Give the first position of each distinct note that is not in the side-car with all its chunks."""
    notes, offsets, chunks = car.read_notes()
    lacking = np.concatenate(([0], np.cumsum(~car.has(chunks))))
    complete = notes[lacking[offsets[1:]] == lacking[offsets[:-1]]]
    distinct, first = np.unique(keys, return_index=True)
    return np.sort(first[find_keys(distinct, complete) < 0])


def _add_notes(texts: Sequence[str], car: SideCar, encoder: Encoder, *, max_tokens: int, progress: bool) -> None:
    """Chunk and embed distinct notes, then record that they are complete."""
    cut = [chunk_note(text, encoder.tokenizer, max_tokens=max_tokens) for text in texts]
    chunks = [chunk for of_note in cut for chunk in of_note]
    keys = text_keys(chunks)
    distinct, first = np.unique(keys, return_index=True)
    missing = first[~car.has(distinct)]
    if len(missing):
        _embed_chunks([chunks[row] for row in missing], keys[missing], car, encoder, progress=progress)
    offsets = np.concatenate(([0], np.cumsum([len(of_note) for of_note in cut], dtype=np.int64)))
    car.add_notes(text_keys(texts), offsets, keys)


def _embed_chunks(
    chunks: Sequence[str], keys: NDArray[np.bytes_], car: SideCar, encoder: Encoder, *, progress: bool
) -> None:
    """Embed distinct chunks, longest first, a shard at a time."""
    lengths = np.array([len(encoding) for encoding in encoder.tokenizer.encode_batch(list(chunks))], dtype=np.int64)
    order = np.argsort(-lengths, kind="stable")
    with _progress_bar(int(lengths.sum()), shown=progress) as advance:
        for start in range(0, len(order), _SHARD_CHUNKS):
            shard = order[start : start + _SHARD_CHUNKS]
            vectors = []
            for batch in _batches(shard, lengths, batch_tokens=encoder.batch_tokens):
                vectors.append(encoder.encode([chunks[row] for row in batch]).astype(np.float16))
                advance(int(lengths[batch].sum()))
            car.add_vectors(keys[shard], np.concatenate(vectors))


def _batches(rows: NDArray[np.int64], lengths: NDArray[np.int64], *, batch_tokens: int) -> Iterator[NDArray[np.int64]]:
    """Cut rows, sorted by falling length, into batches that hold at most `batch_tokens` once padded."""
    start = 0
    while start < len(rows):
        size = max(1, batch_tokens // max(1, int(lengths[rows[start]])))
        yield rows[start : start + size]
        start += size


@contextmanager
def _progress_bar(total: int, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """Show tokens embedded, tokens a second being what an encoder's speed is stated in."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("embedding notes"), BarColumn(), MofNCompleteColumn(), TextColumn("tokens"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), disable=not shown) as bar:
        task = bar.add_task("", total=total)
        yield lambda tokens: bar.advance(task, tokens)
