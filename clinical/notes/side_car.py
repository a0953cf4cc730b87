"""The side-car: a folder beside a hospital's data that remembers the vector of every chunk ever embedded.

Embedding is the slowest thing a hospital does and must survive interruption, so vectors are written in small shards,
each complete or absent: a shard is written under another name and renamed. Its name is a hash of its keys, so two
processes that embed the same notes at once write the same files, and neither needs a lock. A shard is an npz archive
followed by its own sha256, checked on reading; a damaged one is set aside and its texts are embedded again.

    <side-car>/<encoder>@<revision>.<max_tokens>.<rule>/
        vectors-<hash>.npz    key S32 [n] (sha256 of the chunk), vector float16 [n, D]
        notes-<hash>.npz      note S32 [n] (sha256 of the note), offsets int64 [n + 1], chunk S32 [offsets[-1]]

Vectors are as confidential as the notes they come from, and like them stay at the hospital.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import re
import secrets
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

_log = logging.getLogger(__name__)
_KEY = np.dtype("S32")
_DIGEST_BYTES = 32


def text_keys(texts: Iterable[str]) -> NDArray[np.bytes_]:
    """Give the sha256 of each text: S32 [n]."""
    digests = b"".join(hashlib.sha256(text.encode()).digest() for text in texts)
    return np.frombuffer(digests, dtype=_KEY)


def find_keys(keys: NDArray[np.bytes_], among: NDArray[np.bytes_]) -> NDArray[np.int64]:
    """Give the position of each key in `among`, -1 where it is absent: int64 [len(keys)]."""
    if not len(among):
        return np.full(len(keys), -1, dtype=np.int64)
    order = np.argsort(among, kind="stable")
    place = order[np.searchsorted(among, keys, sorter=order).clip(max=len(among) - 1)]
    return np.where(among[place] == keys, place, -1)


def adopt(side_car: Path, *, into: Path) -> None:
    """Give a side-car the shards of another, by links where the file system allows.

    Shards are named by their content and never change once written, so two folders can hold the same file.
    """
    for shard in side_car.glob("*/*.npz"):
        place = into / shard.parent.name / shard.name
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(shard.resolve(), place)
            except OSError:
                shutil.copyfile(shard, place)


class SideCar:
    """The vectors of one encoder and one way of chunking, in one folder.

    Args:
        root: the hospital's side-car directory, created when the first shard is written.
        identity: the encoder's identity.
        chunking: the chunking rule and its parameters.
    """

    def __init__(self, root: Path, *, identity: str, chunking: str) -> None:
        self.folder = root / re.sub(r"[^\w@.+-]+", "--", f"{identity}.{chunking}")
        self._keys: dict[Path, NDArray[np.bytes_]] = {}  # of every sound vector shard seen so far

    def has(self, chunks: NDArray[np.bytes_]) -> NDArray[np.bool_]:
        """Say which chunks have a vector: bool [len(chunks)]."""
        return find_keys(chunks, self._known()) >= 0

    def gather(self, chunks: NDArray[np.bytes_]) -> NDArray[np.float16]:
        """Give the vectors of one or more chunks that all have one: float16 [len(chunks), D], reading shard by shard.

        Raises:
            OSError: when a chunk has no vector, or its shard was damaged since `has` said it was there.
        """
        places = find_keys(chunks, self._known())
        if (places < 0).any():
            raise OSError(f"{self.folder} lacks {(places < 0).sum()} chunks; it changed meanwhile: start again")
        order = np.argsort(places, kind="stable")
        bounds = np.cumsum([0, *(len(keys) for keys in self._keys.values())])
        cuts = np.searchsorted(places[order], bounds)
        vectors = np.empty((len(chunks), 0), dtype=np.float16)
        for shard, path in enumerate(self._keys):
            rows = order[cuts[shard] : cuts[shard + 1]]
            if not len(rows):
                continue
            stored = _read(path, ("vector",))
            if stored is None:
                raise OSError(f"{path} was damaged while it was being read: start again")
            if not vectors.size:
                vectors = np.empty((len(chunks), stored["vector"].shape[1]), dtype=np.float16)
            vectors[rows] = stored["vector"][places[rows] - bounds[shard]]
        return vectors

    def add_vectors(self, chunks: NDArray[np.bytes_], vectors: NDArray[np.floating[Any]]) -> None:
        """Store the vectors of distinct chunks as one shard."""
        self._write("vectors", chunks, {"key": chunks, "vector": vectors.astype(np.float16)})

    def add_notes(self, notes: NDArray[np.bytes_], offsets: NDArray[np.int64], chunks: NDArray[np.bytes_]) -> None:
        """Store which chunks each note was cut into, so it need not be cut again."""
        self._write("notes", notes, {"note": notes, "offsets": offsets, "chunk": chunks})

    def read_notes(self) -> tuple[NDArray[np.bytes_], NDArray[np.int64], NDArray[np.bytes_]]:
        """Give all stored notes (S32 [n]), the offsets into their chunks (int64 [n + 1]) and the chunks (S32 [m])."""
        found = [_read(path, ("note", "offsets", "chunk")) for path in sorted(self.folder.glob("notes-*.npz"))]
        shards = [shard for shard in found if shard is not None]
        notes = np.concatenate([np.empty(0, _KEY), *(shard["note"] for shard in shards)])
        chunks = np.concatenate([np.empty(0, _KEY), *(shard["chunk"] for shard in shards)])
        counts = np.concatenate([np.zeros(1, np.int64), *(np.diff(shard["offsets"]) for shard in shards)])
        return notes, np.cumsum(counts), chunks

    def _known(self) -> NDArray[np.bytes_]:
        """Give the keys of all sound vector shards, reading those that appeared since the last look."""
        for path in sorted(self.folder.glob("vectors-*.npz")):
            if path not in self._keys and (stored := _read(path, ("key",))) is not None:
                self._keys[path] = stored["key"]
        return np.concatenate([np.empty(0, _KEY), *self._keys.values()])

    def _write(self, kind: str, named_by: NDArray[np.bytes_], arrays: dict[str, NDArray[Any]]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(named_by.tobytes()).hexdigest()[:24]
        partial = self.folder / f".{name}.{secrets.token_hex(4)}.partial"
        content = io.BytesIO()
        np.savez(content, **arrays)
        try:
            with partial.open("wb") as file:
                file.write(content.getvalue() + hashlib.sha256(content.getvalue()).digest())
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self.folder / f"{kind}-{name}.npz")
        finally:
            partial.unlink(missing_ok=True)


def _read(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[Any]] | None:
    """Read a shard whole, or set a damaged one aside and say so."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:  # another process has just set it aside
        return None
    if hashlib.sha256(content[:-_DIGEST_BYTES]).digest() != content[-_DIGEST_BYTES:]:
        with suppress(FileNotFoundError):
            path.replace(path.with_suffix(".damaged"))
        _log.warning("%s is damaged: set aside, and its texts are embedded again", path)
        return None
    with np.load(io.BytesIO(content[:-_DIGEST_BYTES]), allow_pickle=False) as archive:
        return {name: archive[name] for name in names}
