"""A hospital's table: one file beside its policy, which studies of synthesis read and nothing else does.

The folder may be a MEDS hospital that has prepared a table besides, or hold a table alone; then the hospital is called
as its folder.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from synth.admission import admit, count_patients
from synth.tables import read_table

if TYPE_CHECKING:
    from pathlib import Path

    from synth.admission import Admitted
    from synth.spec import TableSpec

FILES = ("table.parquet", "table.csv", "table.csv.gz")


class NoTable(ValueError):
    """A hospital without a table, with two, or with one that contradicts a study; the message holds no cell."""


def has_table(folder: Path) -> bool:
    """Tell whether a folder holds a hospital's table."""
    return any((folder / name).is_file() for name in FILES)


def hospital_name(folder: Path) -> str:
    """Return the hospital's name: as its records say, or as its folder is called.

    Raises:
        clinical.profile.ProfileError: the folder has neither a table nor records that say it.
    """
    from meds import schema as meds

    from clinical.events import read_manifest

    if (folder / meds.dataset_metadata_filepath).is_file() or not has_table(folder):
        return read_manifest(folder).site_id
    return folder.name


def count_hospital(folder: Path, spec: TableSpec) -> int:
    """Count the patients of a hospital's table, by its key alone.

    Raises:
        NoTable: there is no table, or the key is no column of it.
    """
    path = _file(folder)
    return _count(path, path.stat().st_mtime_ns, spec)


def admit_hospital(folder: Path, spec: TableSpec) -> Admitted:
    """Read a hospital's table by a study's specification.

    Raises:
        NoTable: there is no table, or it contradicts the specification; how is for the hospital's own people.
    """
    path = _file(folder)
    try:
        return _admit(path, path.stat().st_mtime_ns, spec)
    except ValueError as fault:
        raise NoTable(
            "the hospital's table contradicts the study's specification: `wardround synth check` tells its own people "
            "where"
        ) from fault


def _file(folder: Path) -> Path:
    found = [folder / name for name in FILES if (folder / name).is_file()]
    if len(found) != 1:
        raise NoTable(f"the hospital has {'two tables' if found else 'no table'}: it needs one of {', '.join(FILES)}")
    return found[0]


@lru_cache(maxsize=32)
def _count(path: Path, written: int, spec: TableSpec) -> int:
    """Remembered until the file is written again, for every message asks."""
    del written
    try:
        table = read_table(path)
    except ValueError:
        raise NoTable("the hospital's table cannot be read") from None
    try:
        return count_patients(table, spec)
    except ValueError as fault:
        raise NoTable(str(fault)) from None


@lru_cache(maxsize=16)
def _admit(path: Path, written: int, spec: TableSpec) -> Admitted:
    del written
    return admit(read_table(path), spec)
