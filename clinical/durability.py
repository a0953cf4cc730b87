"""Files on disk before the rename that publishes them: after a power cut a hospital is whole or not there."""

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["flush_folder", "flush_tree"]


def flush_tree(folder: Path) -> None:
    """Make every file below a folder durable before the rename that publishes it."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    for path in [folder, *(entry for entry in folder.rglob("*") if entry.is_dir())]:
        flush_folder(path)


def flush_folder(folder: Path) -> None:
    """Make a folder's list of files durable."""
    with suppress(OSError):  # some network file systems cannot sync a folder; their rename is then all there is
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
