"""Networks: the folders of hospitals that studies are simulated on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from meds import schema as meds

from clinical.profile import ProfileError

if TYPE_CHECKING:
    from collections.abc import Callable

_SIGN = f"data/ and {meds.dataset_metadata_filepath}"  # of a hospital


def list_hospitals(
    network: Path, *, is_hospital: Callable[[Path], bool] | None = None, sign: str = _SIGN
) -> list[Path]:
    """Find the hospitals of a network, in natural order (hospital-2 before hospital-10).

    A path that is itself a hospital gives itself. Folders that are not hospitals (runs, hidden ones) are passed over,
    but half a hospital is not: it is named.

    Args:
        network: a hospital, or a folder of hospitals.
        is_hospital: tells which folder is one, where it is not records that make it one.
        sign: what it looks for, in words.

    Raises:
        ProfileError: the path does not exist, holds no hospital, or holds a folder with data but no metadata.
    """
    network = Path(network)
    if not network.is_dir():
        raise ProfileError(f"{network} is not a folder; give a hospital or a folder of hospitals")
    is_hospital = is_hospital or _is_hospital
    if is_hospital(network):
        return [network]
    folders = (entry for entry in network.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    found = sorted(filter(is_hospital, folders), key=_natural)
    if not found:
        raise ProfileError(f"{network} holds no hospital: no sub-folder has {sign}")
    return found


def _is_hospital(folder: Path) -> bool:
    has_data = (folder / meds.data_subdirectory).is_dir()
    has_manifest = (folder / meds.dataset_metadata_filepath).is_file()
    if has_data and not has_manifest:
        raise ProfileError(f"{folder} has data/ but no {meds.dataset_metadata_filepath}; write the hospital again")
    return has_data and has_manifest


def _natural(path: Path) -> list[tuple[bool, int, str]]:
    parts = re.split(r"(\d+)", path.name)
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]
