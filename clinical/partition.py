"""One hospital made into several: the difference between hospitals, made on purpose and repeatably.

How many patients each hospital has, which diseases and who they are decides whether federation works, so a comparison
with central training needs divisions whose unevenness can be set. A patient is never divided: what is moved, weighted
and protected is the patient and not the note. `merge_hospitals` is the way back.

Sources: label skew, Yurochkin et al. 2019 (arXiv 1905.12022), taken from images with one label to patients with many
through the patient's commonest chapter; quantity skew, Li et al. 2022 (arXiv 2102.02079).
"""

from __future__ import annotations

import json
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clinical.events import HospitalWriter, scan_events, write_splits
from clinical.labels import list_labels, read_labels, write_labels
from clinical.merge import code_titles, describe_sources, labels_of, merge_hospitals, renumber_sites
from clinical.networks import list_hospitals
from clinical.profile import EVENT_SCHEMA, PREFIX_OF_SYSTEM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from clinical.events import Manifest
    from clinical.merge import Site

__all__ = ["METHODS", "Division", "Method", "PartitionError", "merge_hospitals", "partition_hospital", "split_hospital"]

Method = Literal["iid", "label-skew", "quantity-skew", "column"]
METHODS: Final[tuple[Method, ...]] = get_args(Method)

_DRAWS: Final = 100
_WITHOUT: Final = "(none)"
_CODED: Final = ("DIAG//", "PROC//")
_HELD_BYTES: Final = 64 << 20


class PartitionError(ValueError):
    """The division asked for is not possible; the message says what would be."""


@dataclass(frozen=True, slots=True)
class Division:
    """How patients are divided; see `partition_hospital`.

    Raises:
        PartitionError: a value is out of range, or does not go with the method.
    """

    method: Method
    hospitals: int
    alpha: float
    column: str
    minimum_patients: int

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise PartitionError(f"method {self.method!r} is unknown; there are: {', '.join(METHODS)}")
        if self.hospitals < 2 and not (self.method == "column" and self.hospitals == 0):
            raise PartitionError(f"hospitals={self.hospitals}: a division needs at least 2")
        if self.method.endswith("skew") and not 0 < self.alpha < np.inf:
            raise PartitionError(f"alpha={self.alpha} must be above 0: 0.1 is very uneven, 100 nearly even")
        if self.method == "column" and not self.column:
            raise PartitionError("method column needs a column: site_id, or a code prefix such as RACE//")
        if self.method != "column" and self.column:
            raise PartitionError(f"column={self.column!r} only goes with method column, not {self.method}")


@dataclass(frozen=True, slots=True)
class Placement:
    """Which hospital each patient goes to.

    Attributes:
        patients: int64 [N], ascending.
        hospital: int64 [N], from 0.
    """

    patients: NDArray[np.int64]
    hospital: NDArray[np.int64]

    def of(self, subject_id: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give the hospital of each event's patient: int64 [events]."""
        return self.hospital[np.searchsorted(self.patients, subject_id)]


def partition_hospital(
    src: Path,
    out: Path,
    *,
    method: Method,
    hospitals: int = 0,
    seed: int,
    alpha: float = 0.5,
    column: str = "",
    minimum_patients: int = 1,
) -> list[Manifest]:
    """Divide the patients of a hospital, or of a network taken together, among new hospitals.

    Args:
        src: a hospital or a folder of hospitals.
        out: the new network's folder; absent or empty. Gets hospital-1 to hospital-H and `partition.json`.
        method: "iid": equal sizes, at random. "label-skew": the patients of each ICD chapter (a patient counts under
            the commonest among his or her diagnoses) are shared out by a Dirichlet draw. "quantity-skew": sizes by a
            Dirichlet draw, patients at random. "column": by the patients' values of `column`, the values going whole,
            largest first, to the hospital that then has fewest patients.
        hospitals: how many, at least 2; 0 with "column" gives each value its own hospital.
        seed: decides everything that is drawn.
        alpha: concentration of the Dirichlet draws, above 0; small is very uneven, 100 nearly even.
        column: "site_id", or a code prefix such as "RACE//"; a patient's first such code decides.
        minimum_patients: no hospital gets fewer. A Dirichlet draw that would is repeated, at most 100 times.

    Returns:
        The manifests, in order.

    Raises:
        PartitionError: an argument is out of range, some hospital would be too small, or `out` holds something.
        ProfileError: `src` is no hospital.

    Guarantee: every event and label of every patient lands in exactly one hospital, which becomes its site. Splits are
    stratified anew within each hospital. The same source, arguments and seed give the same division.
    """
    division = Division(method, hospitals, alpha, column, minimum_patients)
    out = Path(out).absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise PartitionError(f"{out} already holds something; choose a folder that is absent or empty")
    sites = renumber_sites(list_hospitals(src))
    patients = _patients(sites)
    values = _values(sites, patients, division)
    place = _place(values, division, np.random.default_rng(seed))
    source = f"{method} partition of {describe_sources(sites)}"
    manifests = _write_network(sites, out, Placement(patients, place), source=source, seed=seed)
    record = asdict(division) | {
        "hospitals": len(manifests),
        "seed": seed,
        "sources": [site.path.name for site in sites],
    }
    record["contents"] = {
        manifest.site_id: {"patients": manifest.patients, "values": dict(Counter(values[place == number]))}
        for number, manifest in enumerate(manifests)
    }
    (out / "partition.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return manifests


def split_hospital(hospital: Path, *, seed: int) -> dict[int, str]:
    """Stratify a hospital's patients into train, tuning and held_out by codes and outcomes, and write the splits.

    Args:
        hospital: a hospital's folder.
        seed: decides the draw.

    Returns:
        The split of every patient, those without codes included.
    """
    from scipy.sparse import csr_matrix

    from clinical.splits import stratified_split

    codes: dict[str, int] = {}
    patients: list[NDArray[np.int64]] = []
    rows: list[NDArray[np.int64]] = []
    columns: list[NDArray[np.int64]] = []
    for events in scan_events(hospital, columns=["subject_id", "code"]):
        here = np.unique(events["subject_id"].to_numpy())
        pairs = _with_prefix(events, _CODED).group_by(["subject_id", "code"]).aggregate([])
        rows.append(np.searchsorted(here, pairs["subject_id"].to_numpy()) + sum(map(len, patients)))
        columns.append(np.array([codes.setdefault(code, len(codes)) for code in pairs["code"].to_pylist()], np.int64))
        patients.append(here)
    everybody = np.concatenate(patients)
    for task, affected in _affected(hospital).items():
        where = np.flatnonzero(np.isin(everybody, affected))
        rows.append(where)
        columns.append(np.full(len(where), codes.setdefault(task, len(codes)), np.int64))
    carried = (np.concatenate(rows), np.concatenate(columns))
    labels = csr_matrix((np.ones(len(carried[0]), np.int64), carried), shape=(len(everybody), max(len(codes), 1)))
    splits = stratified_split(labels, everybody, seed=seed)
    write_splits(hospital, splits)
    return splits


def _affected(hospital: Path) -> dict[str, NDArray[np.int64]]:
    """Name, for each task with yes-or-no labels, the patients with a yes; rare outcomes then reach every split."""
    affected = {}
    for task in list_labels(hospital):
        labels = read_labels(hospital, task)
        if "codes" in labels.column_names:
            continue
        yes = labels.filter(pc.fill_null(labels["boolean_value"], fill_value=False))
        affected[f"labels/{task}"] = pc.unique(yes["subject_id"]).to_numpy()
    return affected


def _patients(sites: Sequence[Site]) -> NDArray[np.int64]:
    """Every patient once, ascending: int64 [N]."""
    found = [
        pc.unique(events["subject_id"]).to_numpy() for site in sites for events in site.scan(columns=["subject_id"])
    ]
    everybody: NDArray[np.int64] = np.unique(np.concatenate(found))
    return everybody


def _values(sites: Sequence[Site], patients: NDArray[np.int64], division: Division) -> NDArray[np.str_]:
    """What the division goes by: one text per patient, [N]."""
    found: dict[int, str] = {}
    if division.method == "label-skew":
        for site in sites:
            for events in site.scan(prefixes=["DIAG//"], columns=["subject_id", "code"]):
                found |= _commonest_chapters(events)
    elif division.method == "column":
        by_site = division.column == "site_id"
        name = "site_id" if by_site else "code"
        for site in sites:
            for events in site.scan(prefixes=() if by_site else [division.column], columns=["subject_id", name]):
                firsts = zip(events["subject_id"].to_pylist()[::-1], events[name].to_pylist()[::-1], strict=True)
                found |= {patient: value or _WITHOUT for patient, value in firsts}
        if not found:
            raise PartitionError(f"no patient has an event whose code starts with {division.column!r}")
    return np.array([found.get(patient, _WITHOUT) for patient in patients.tolist()], dtype=np.str_)


def _commonest_chapters(events: pa.Table) -> dict[int, str]:
    """Give each patient's commonest diagnosis chapter; among equals the first in text order."""
    codes = pc.unique(events["code"]).to_pylist()
    chapters = pa.array([_chapter(code) for code in codes], pa.string())
    each = chapters.take(pc.index_in(events["code"], pa.array(codes, events["code"].type)))
    counts = pa.table({"subject_id": events["subject_id"], "chapter": each}).group_by(["subject_id", "chapter"])
    ranked = counts.aggregate([([], "count_all")]).sort_by(
        [("subject_id", "ascending"), ("count_all", "ascending"), ("chapter", "descending")]
    )  # the winner comes last, and the last one stays in the dictionary
    return dict(zip(ranked["subject_id"].to_pylist(), ranked["chapter"].to_pylist(), strict=True))


def _chapter(code: str) -> str:
    """Give the chapter of a full diagnosis code, such as I00-I99."""
    from clinical.codes import ancestors

    for system in ("ICD10CM", "ICD9CM"):
        prefix = PREFIX_OF_SYSTEM[system]
        if code.startswith(prefix):
            try:
                above = ancestors(code.removeprefix(prefix), system=system)
            except ValueError:  # kept at ingest although its system cannot spell it
                return _WITHOUT
            return above[0] if above else _WITHOUT
    return _WITHOUT


def _place(values: NDArray[np.str_], division: Division, rng: np.random.Generator) -> NDArray[np.int64]:
    """Choose each patient's hospital, int64 [N] in [0, H), or refuse."""
    if division.method == "column":
        return _checked_sizes(_place_values(values, division), division)
    if len(values) < division.hospitals * max(division.minimum_patients, 1):
        raise PartitionError(
            f"{len(values)} patients cannot give {division.hospitals} hospitals of at least "
            f"{max(division.minimum_patients, 1)}; ask for fewer hospitals or a smaller minimum"
        )
    for _ in range(_DRAWS):
        place = _draw(values, division, rng)
        if np.bincount(place, minlength=division.hospitals).min() >= max(division.minimum_patients, 1):
            return place
    return _checked_sizes(place, division)


def _draw(values: NDArray[np.str_], division: Division, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw one division of the method."""
    order = rng.permutation(len(values))
    place = np.empty(len(values), dtype=np.int64)
    if division.method == "iid":
        place[order] = np.arange(len(values)) % division.hospitals
        return place
    groups = [order] if division.method == "quantity-skew" else [order[values[order] == v] for v in np.unique(values)]
    for members in groups:
        shares = rng.dirichlet(np.full(division.hospitals, division.alpha))
        cuts = np.rint(np.cumsum(shares)[:-1] * len(members)).astype(np.int64)
        for hospital, part in enumerate(np.split(members, cuts)):
            place[part] = hospital
    return place


def _place_values(values: NDArray[np.str_], division: Division) -> NDArray[np.int64]:
    """Give each value to the hospital that then has fewest patients, the commonest value first."""
    counts = sorted(Counter(values.tolist()).items(), key=lambda item: (-item[1], item[0]))
    hospitals = division.hospitals or len(counts)
    if len(counts) < max(hospitals, 2):
        raise PartitionError(
            f"{division.column} has {len(counts)} values; that is too few for {max(hospitals, 2)} hospitals"
        )
    load = [0] * hospitals
    place = np.empty(len(values), dtype=np.int64)
    for value, count in counts:
        hospital = load.index(min(load))
        load[hospital] += count
        place[values == value] = hospital
    return place


def _checked_sizes(place: NDArray[np.int64], division: Division) -> NDArray[np.int64]:
    """Return the places, or refuse because a hospital is too small."""
    sizes = np.bincount(place, minlength=division.hospitals)
    if sizes.min() < max(division.minimum_patients, 1):
        raise PartitionError(
            f"hospital-{sizes.argmin() + 1} would get {sizes.min()} of {len(place)} patients, the minimum is "
            f"{max(division.minimum_patients, 1)}; ask for fewer hospitals, a larger alpha or a smaller minimum"
        )
    return place


def _write_network(sites: Sequence[Site], out: Path, placement: Placement, *, source: str, seed: int) -> list[Manifest]:
    """Write all hospitals in one pass over the sources, then their splits."""
    hospitals = int(placement.hospital.max()) + 1
    titles = code_titles([site.path for site in sites])
    out.mkdir(parents=True, exist_ok=True)
    site_column = EVENT_SCHEMA.get_field_index("site_id")
    limit = max(_HELD_BYTES // hospitals, 1 << 20)
    names = [f"hospital-{number}" for number in range(1, hospitals + 1)]
    writers = [
        HospitalWriter(out / name, site_id=name, source=source, code_titles=titles, limit_bytes=limit) for name in names
    ]
    with ExitStack() as stack:
        for writer in writers:
            stack.enter_context(writer)
        for site in sites:
            for shard in site.scan():
                nobody = pa.nulls(len(shard), pa.string())  # the writer fills in the new hospital's name
                events = shard.set_column(site_column, EVENT_SCHEMA.field(site_column), nobody)
                goes_to = placement.of(events["subject_id"].to_numpy())
                for hospital in np.unique(goes_to):
                    writers[hospital].append(events.filter(pa.array(goes_to == hospital)))
    for task, labels in labels_of(sites).items():
        goes_to = placement.of(labels["subject_id"].to_numpy())
        for hospital in np.unique(goes_to):
            write_labels(out / names[hospital], task, labels.filter(pa.array(goes_to == hospital)))
    for name in names:
        split_hospital(out / name, seed=seed)
    return [writer.manifest for writer in writers]


def _with_prefix(events: pa.Table, prefixes: Sequence[str]) -> pa.Table:
    """Keep the rows whose code starts with one of the prefixes."""
    keep = pc.starts_with(events["code"], prefixes[0])
    for prefix in prefixes[1:]:
        keep = pc.or_(keep, pc.starts_with(events["code"], prefix))
    return events.filter(keep)
