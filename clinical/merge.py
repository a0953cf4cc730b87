"""Several hospitals read as one: numbers that meet are moved apart, everything else stays as it is.

Two hospitals both have a patient 17. Read together they must stay two people, whoever reads them and in whichever run;
so the numbers are moved by a rule that depends on nothing but the hospitals and their order.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from meds import schema as meds

from clinical.events import HospitalWriter, read_manifest, read_splits, scan_events, write_splits
from clinical.labels import list_labels, read_labels, write_labels
from clinical.tasks import asks_about_admissions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from clinical.events import Manifest

__all__ = ["Site", "code_titles", "describe_sources", "labels_of", "merge_hospitals", "renumber_sites"]

_NUMBERS: Final = ("subject_id", "hadm_id", "stay_id")


@dataclass(frozen=True, slots=True)
class Site:
    """A hospital as part of a whole: where it is, and by how much each kind of its numbers is moved."""

    path: Path
    offsets: dict[str, int]

    def scan(self, *, prefixes: Sequence[str] = (), columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Read the events shard by shard, as `scan_events` does, with the moved numbers."""
        for events in scan_events(self.path, prefixes=prefixes, columns=columns):
            yield self._moved(events)

    def labels(self, task: str) -> pa.Table:
        """Read a task's labels, as `clinical.labels.read_labels` does, with the moved numbers."""
        named = "hadm_id" if asks_about_admissions(task) else "stay_id"  # what the labels' stay_id is a number of
        return self._moved(read_labels(self.path, task), self.offsets | {"stay_id": self.offsets[named]})

    def _moved(self, events: pa.Table, offsets: Mapping[str, int] | None = None) -> pa.Table:
        """Move the numbers of one table."""
        for name, offset in (self.offsets if offsets is None else offsets).items():
            position = events.schema.get_field_index(name)
            if offset and position >= 0:
                events = events.set_column(position, events.field(position), pc.add(events.column(position), offset))
        return events


def renumber_sites(hospitals: Sequence[Path]) -> list[Site]:
    """Decide how the numbers of each hospital are moved so that no two hospitals share one.

    A hospital keeps its patient (admission, stay) numbers when all of them lie above those of the hospitals before it.
    Otherwise all its numbers of that kind move up by one constant, to begin just above. One hospital alone keeps all.

    Args:
        hospitals: folders, in the order that decides.

    Guarantee: distinct patients have distinct numbers, and the same hospitals in the same order get the same ones.
    """
    highest: dict[str, int] = {}
    sites = []
    for path in hospitals:
        ranges = _ranges(path)
        offsets = dict.fromkeys(_NUMBERS, 0)
        for name, (low, high) in ranges.items():
            if name in highest and low <= highest[name]:
                offsets[name] = highest[name] + 1 - low
            highest[name] = max(high + offsets[name], highest.get(name, high))
        sites.append(Site(path, offsets))
    return sites


def merge_hospitals(paths: Sequence[Path], out: Path) -> Manifest:
    """Bring hospitals together into one, as central training would see them.

    Each event keeps its site, each patient his or her split and labels; numbers move as `renumber_sites` says.

    Args:
        paths: the hospitals; their order decides the numbers.
        out: the new hospital's folder; absent or empty.

    Raises:
        ProfileError: a path is no hospital or has no splits, or `out` holds something.
        ValueError: there are no paths.
    """
    if not paths:
        raise ValueError("there are no hospitals to merge; give at least one")
    sites = renumber_sites([Path(path) for path in paths])
    splits: dict[int, str] = {}
    for site in sites:
        moved = site.offsets["subject_id"]
        splits.update({patient + moved: split for patient, split in read_splits(site.path).items()})
    out = Path(out).absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    source = f"merge of {describe_sources(sites)}"
    with HospitalWriter(out, site_id=out.name, source=source, code_titles=code_titles(paths)) as writer:
        for site in sites:
            for events in site.scan():
                writer.append(events)
    write_splits(out, splits)
    for task, labels in labels_of(sites).items():
        write_labels(out, task, labels)
    return writer.manifest


def labels_of(sites: Sequence[Site]) -> dict[str, pa.Table]:
    """Read the labels of several hospitals, by task, with the moved numbers; a task need not be everywhere."""
    found: dict[str, list[pa.Table]] = {}
    for site in sites:
        for task in list_labels(site.path):
            found.setdefault(task, []).append(site.labels(task))
    return {task: pa.concat_tables(tables) for task, tables in found.items()}


def describe_sources(sites: Sequence[Site]) -> str:
    """Say in words where the events of several hospitals come from, each origin once."""
    return ", ".join(dict.fromkeys(read_manifest(site.path).source for site in sites))


def code_titles(hospitals: Sequence[Path]) -> dict[str, str]:
    """Collect the descriptions that hospitals keep of their codes; the first hospital's wording wins."""
    titles: dict[str, str] = {}
    for hospital in hospitals:
        path = Path(hospital) / meds.code_metadata_filepath
        if not path.is_file():
            continue
        table = pq.read_table(path, columns=["code", "description"])
        for code, title in zip(table["code"].to_pylist(), table["description"].to_pylist(), strict=True):
            if title:
                titles.setdefault(code, title)
    return titles


def _ranges(hospital: Path) -> dict[str, tuple[int, int]]:
    """Find the lowest and highest number of each kind; a kind the hospital does not have is left out."""
    ranges: dict[str, tuple[int, int]] = {}
    for events in scan_events(hospital, columns=_NUMBERS):
        for name in _NUMBERS:
            found = pc.min_max(events[name]).as_py()
            if found["min"] is not None:
                low, high = ranges.get(name, (found["min"], found["max"]))
                ranges[name] = (min(low, found["min"]), max(high, found["max"]))
    return ranges
