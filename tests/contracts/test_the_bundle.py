"""What is shipped to a hospital is what stands in the rooms."""

import io
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("clinical", "privacy", "synth", "study", "strategies", "server", "clients", "reports")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> set[str]:
    """The names in the Flower bundle of this checkout, built from a folder whose name Flower accepts."""
    import shutil

    from flwr.cli.build import build_fab_from_disk

    folder = tmp_path_factory.mktemp("bundle") / "wardround"
    ignored = shutil.ignore_patterns(".*", "runs", "__pycache__", "*.egg-info", "tests", "benchmarks")
    shutil.copytree(ROOT, folder, ignore=ignored)
    shutil.copy(ROOT / ".gitignore", folder / ".gitignore")
    return set(zipfile.ZipFile(io.BytesIO(build_fab_from_disk(folder))).namelist())


def test_every_module_and_table_of_every_room_is_shipped(bundle):
    wanted = {
        path.relative_to(ROOT).as_posix()
        for room in ROOMS
        for ending in ("*.py", "*.toml")
        for path in (ROOT / room).rglob(ending)
    }
    assert wanted <= bundle


def test_nothing_but_the_application_is_shipped(bundle):
    allowed = (*(f"{room}/" for room in ROOMS), "wardround.py", "pyproject.toml", "README.md", "LICENSE", ".info/")
    assert [name for name in bundle if not name.startswith(allowed)] == []
