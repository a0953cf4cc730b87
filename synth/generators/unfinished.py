"""Unfinished trainings on disk: whole or not at all, for their owner alone, and taken up by the same training only."""

from __future__ import annotations

import hashlib
import io
import os
from typing import TYPE_CHECKING, Any

import torch

from clinical.durability import flush_folder

if TYPE_CHECKING:
    from pathlib import Path

_DIGEST = 64  # letters of a SHA-256


def write_unfinished(file: Path, identity: str, state: dict[str, Any]) -> None:
    """Replaces the file at once, readable by its owner alone: what it holds was fitted to patients."""
    content = io.BytesIO()
    torch.save(state, content)
    partial = file.with_name(file.name + ".partial")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(f"{identity}{hashlib.sha256(content.getvalue()).hexdigest()}".encode())
        stream.write(content.getvalue())
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(file)
    flush_folder(file.parent)


def read_unfinished(file: Path, identity: str) -> dict[str, Any]:
    """Reads the state of an unfinished training.

    Raises:
        ValueError: the file is damaged, or belongs to another training.
    """
    written = file.read_bytes()
    content = written[2 * _DIGEST :]
    if written[_DIGEST : 2 * _DIGEST] != hashlib.sha256(content).hexdigest().encode():
        raise ValueError(f"{file} is no unfinished training: delete it to begin anew")
    if written[:_DIGEST] != identity.encode():
        raise ValueError(
            f"{file} is an unfinished training of another table or plan: finish that one, or delete the file"
        )
    state: dict[str, Any] = torch.load(io.BytesIO(content), weights_only=True)
    return state
