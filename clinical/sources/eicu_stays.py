"""eICU-CRD's stays on one clock: which patient, which visit, which hospital, and a date that is ours.

The data set gives minutes from the admission to a unit, the time of day of that admission and the year of discharge; it
gives no dates, and not the order of a patient's visits. We assume that a patient's first visit of a year begins on
1 January and that each further one (by number, one that ends in death last) begins the day after the one before ended,
so that visits never overlap. Everything within a visit, time of day included, is as recorded; nothing between two is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clinical.sources.intake import Dictionary
from clinical.sources.spans import NEVER, Spans, as_integers, to_times
from clinical.sources.table_maps import Context, TableMap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from clinical.sources.intake import Reading
    from clinical.sources.translation import Rows

    Integers = NDArray[np.int64]

__all__ = [
    "HOSPITALS",
    "PATIENT_COLUMNS",
    "SITES",
    "Sites",
    "UnitStays",
    "at_offset",
    "check_patient",
    "expired",
    "join_unit",
    "prepare_eicu",
]

Sites = Literal["hospital", "region-size"]
SITES: Final[tuple[Sites, ...]] = ("hospital", "region-size")

_MINUTE: Final = 60_000_000
_DAY: Final = 1440 * _MINUTE
_MOST_MINUTES: Final = 20 * 366 * 1440
_OFFSET: Final = "@at:"
_SIZES: Final = {"<100": "under-100", "100 - 249": "100-249", "250 - 499": "250-499", ">= 500": "500-or-more"}
PATIENT_COLUMNS: Final = (
    "patientunitstayid", "uniquepid", "patienthealthsystemstayid", "hospitalid", "hospitaldischargeyear",
    "hospitaladmittime24", "hospitaladmitoffset", "hospitaldischargeoffset",
)  # fmt: skip


def _region_and_size(beds: str, region: str = "") -> str:
    """Name the group a hospital belongs to by where it is and how large; what is not known is called so."""
    where = re.sub(r"\W+", "-", region.strip().lower()).strip("-") or "unknown"
    return f"{where}-{_SIZES.get(beds.strip(), 'unknown')}"


HOSPITALS: Final = Dictionary("hospital", ("hospitalid", "numbedscategory", "region"), _region_and_size)


@dataclass(frozen=True, slots=True)
class UnitStays:
    """The stays of an eICU export, ascending by number: int64 [N] and text [N].

    Attributes:
        unit: patientunitstayid.
        subject: the patient, made of uniquepid.
        visit: patienthealthsystemstayid.
        anchor: when the stay began on our clock, microseconds since 1970.
        left: when the visit ended.
        first: bool, whether the visit is the patient's first.
        site: name of the hospital or of its group.
    """

    unit: Integers
    subject: Integers
    visit: Integers
    anchor: Integers
    left: Integers
    first: NDArray[np.bool_]
    site: pa.Array

    def find(self, unit: Integers) -> Integers:
        """Give the position of each stay, -1 for one that is not there."""
        at = np.minimum(np.searchsorted(self.unit, unit), len(self.unit) - 1)
        found: Integers = np.where(self.unit[at] == unit, at, -1)
        return found


def join_unit(rows: Rows, context: Context) -> None:
    """Add patient, visit and site of each row's unit stay, and every time the table's facts name by an offset."""
    assert isinstance(context.patients, UnitStays)
    stays = context.patients
    unit = rows.integer("patientunitstayid")
    rows.refuse(pc.is_null(unit).to_numpy(zero_copy_only=False), "no patientunitstayid")
    at = stays.find(as_integers(unit))
    rows.refuse(at < 0, "no such unit stay")
    at = np.maximum(at, 0)
    rows.put("@subject", pa.array(stays.subject[at]))
    rows.put("@visit", pa.array(stays.visit[at]))
    rows.put("@site_id", stays.site.take(pa.array(at)))
    rows.put("@left", to_times(stays.left[at]))
    for fact in rows.table.facts:
        if fact.time.startswith(_OFFSET) and not rows.has(fact.time):
            rows.put(fact.time, at_offset(rows, context, fact.time.removeprefix(_OFFSET)))


def at_offset(rows: Rows, context: Context, name: str) -> pa.Array:
    """Turn a column of minutes from unit admission into times; an absurd number refuses its row.

    Args:
        rows: already joined.
        context: has the stays.
        name: the column.
    """
    assert isinstance(context.patients, UnitStays)
    unit = as_integers(rows.integer("patientunitstayid"))
    anchor = context.patients.anchor[np.maximum(context.patients.find(unit), 0)]
    minutes = as_integers(rows.integer(name))
    known = minutes != NEVER
    rows.refuse(known & (np.abs(np.where(known, minutes, 0)) > _MOST_MINUTES), f"{name} is more than twenty years")
    shift = np.clip(minutes, -_MOST_MINUTES, _MOST_MINUTES) * _MINUTE
    return to_times(np.where(known, anchor + shift, NEVER))


def subject_numbers(written: pa.Array) -> tuple[pa.Array, NDArray[np.bool_]]:
    """Make a number of uniquepid, 002-1039 becoming 2000001039: int64 [rows], and which cells are no such thing."""
    parts = pc.extract_regex(written, r"^\s*(?P<group>\d{1,4})-(?P<person>\d{1,9})\s*$")
    group = pc.struct_field(parts, "group").cast(pa.int64())
    numbers = pc.add(pc.multiply(group, 1_000_000_000), pc.struct_field(parts, "person").cast(pa.int64()))
    return numbers, pc.is_null(numbers).to_numpy(zero_copy_only=False)


def check_patient(rows: Rows, context: Context) -> None:
    """Refuse a row of `patient` whose stay could not be placed, then join it like any other."""
    _, wrong = subject_numbers(rows.text("uniquepid"))
    rows.refuse(wrong, "uniquepid is not of the form 002-1039")
    for name in ("patienthealthsystemstayid", "hospitaldischargeyear", "hospitaladmitoffset"):
        rows.refuse(pc.is_null(rows.integer(name)).to_numpy(zero_copy_only=False), f"no {name}")
    year = as_integers(rows.integer("hospitaldischargeyear"))
    rows.refuse((year < 1900) | (year > 2200), "hospitaldischargeyear absurd")
    for name in ("hospitaladmitoffset", "hospitaldischargeoffset"):
        minutes = as_integers(rows.integer(name))
        rows.refuse((minutes != NEVER) & (np.abs(minutes) > _MOST_MINUTES), f"{name} is more than twenty years")
    if isinstance(context.patients, UnitStays):
        join_unit(rows, context)


def prepare_eicu(reading: Reading, patient: TableMap, *, sites: Sites) -> Context:
    """Read stays and hospitals ahead of everything that refers to them."""
    names = reading.labels()
    groups = names.get("hospital", {})
    parts = list(_stay_columns(reading.look_up(patient)))
    columns = [np.concatenate([part[position] for part in parts]) for position in range(8)] if parts else []
    if not columns or not len(columns[0]):
        raise ValueError("the table patient has no row that can be read; without it no other table has a patient")
    unit, first = np.unique(columns[0], return_index=True)
    subject, visit, hospital, start, admitted, ended, died = (column[first] for column in columns[1:])
    anchor, left, is_first = _place_visits(subject, visit, start, admitted, ended, died)
    site = [_site_name(int(number), groups, sites=sites) for number in hospital]
    empty = np.empty(0, np.int64)
    return Context(
        names=names,
        admissions=Spans.collect(empty, empty, empty, empty),
        stays=Spans.collect(empty, empty, empty, empty),
        patients=UnitStays(unit, subject, visit, anchor, left, is_first, pa.array(site, pa.string())),
        order=reading.options.dates,
    )


def _stay_columns(blocks: Iterator[Rows]) -> Iterator[tuple[Integers, ...]]:
    """Read the columns that place a stay, of the rows that can be read."""
    nothing = Spans.collect(*(np.empty(0, np.int64) for _ in range(4)))
    for rows in blocks:
        check_patient(rows, Context({}, nothing, nothing))
        subject, _ = subject_numbers(rows.text("uniquepid"))
        unit = as_integers(rows.integer("patientunitstayid"))
        admit, leave = (as_integers(rows.integer(f"hospital{which}offset")) for which in ("admit", "discharge"))
        year = np.clip(as_integers(rows.integer("hospitaldischargeyear")), 1678, 2261) - 1970
        start = year.astype("datetime64[Y]").astype("datetime64[us]").astype(np.int64)
        start = start + _time_of_day(rows.text("hospitaladmittime24"))
        columns = (
            unit, as_integers(subject), as_integers(rows.integer("patienthealthsystemstayid")),
            as_integers(rows.integer("hospitalid")), start, admit, leave, expired(rows).astype(np.int64),
        )  # fmt: skip
        keep = rows.kept & (unit != NEVER)
        yield tuple(column[keep] for column in columns)


def expired(rows: Rows) -> NDArray[np.bool_]:
    """Mark the rows of `patient` whose visit ended in death: bool [rows]."""
    status = pc.utf8_lower(pc.utf8_trim_whitespace(rows.text("hospitaldischargestatus")))
    marked: NDArray[np.bool_] = pc.fill_null(pc.equal(status, "expired"), False).to_numpy(zero_copy_only=False)
    return marked


def _time_of_day(cells: pa.Array) -> Integers:
    """Read times of day as microseconds; one that is missing or none is midnight."""
    parts = pc.extract_regex(cells, r"^\s*(?P<h>[01]?\d|2[0-3]):(?P<m>[0-5]\d)(?::[0-5]\d)?\s*$")
    hours, minutes = (pc.fill_null(pc.struct_field(parts, name).cast(pa.int64()), 0).to_numpy() for name in ("h", "m"))
    since_midnight: Integers = (hours * 60 + minutes) * _MINUTE
    return since_midnight


def _place_visits(
    subject: Integers, visit: Integers, start: Integers, admitted: Integers, ended: Integers, died: Integers
) -> tuple[Integers, Integers, NDArray[np.bool_]]:
    """Place a patient's visits one after another; give each stay its beginning and the end of its visit.

    Args:
        subject: int64 [N], the patient of each stay.
        visit: int64 [N], its visit.
        start: int64 [N], earliest beginning of the visit: 1 January of the year at the recorded time of day.
        admitted: int64 [N], minutes from the unit admission to the hospital admission, usually negative.
        ended: int64 [N], minutes from the unit admission to the hospital discharge; NEVER if not known.
        died: int64 [N], 1 where the visit ended in death.
    """
    _, of_visit = np.unique(np.stack([subject, visit]), axis=1, return_inverse=True)
    last, year = np.zeros(len(start), np.int64), np.full(len(start), NEVER)
    np.maximum.at(last, of_visit.ravel(), died)
    np.maximum.at(year, of_visit.ravel(), start // _DAY)  # of a visit whose rows disagree, so that it stays whole
    order = np.lexsort((admitted, visit, last[of_visit.ravel()], year[of_visit.ravel()], subject))
    length = (np.where(ended == NEVER, 0, ended) - admitted) * _MINUTE
    anchor, left = np.empty_like(start), np.empty_like(start)
    first = np.zeros(len(start), dtype=bool)
    begin = end = 0
    previous: tuple[int, int] = (NEVER, NEVER)
    first_visit = NEVER
    for row in order.tolist():
        key = (int(subject[row]), int(visit[row]))
        if key != previous:
            begin = int(start[row])
            if key[0] != previous[0]:
                first_visit = key[1]
            elif begin <= end:
                begin += -(-(end - begin + 1) // _DAY) * _DAY
            end, previous = begin, key
        anchor[row] = begin - int(admitted[row]) * _MINUTE
        left[row] = begin + max(int(length[row]), 0) if ended[row] != NEVER else NEVER
        first[row] = key[1] == first_visit
        end = max(end, begin + int(length[row]))
    return anchor, left, first


def _site_name(hospital: int, groups: dict[str, str], *, sites: Sites) -> str:
    """Name the site of a hospital."""
    if hospital == NEVER:
        return "unknown"
    if sites == "hospital":
        return f"hospital-{hospital}"
    group = groups.get(str(hospital), "unknown-unknown")
    return "unknown" if group == "unknown-unknown" else group
