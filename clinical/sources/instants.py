"""FHIR's dates and instants as naive times of the hospital's clock.

The profile wants the wall clock of the ward: the hour of day is medicine, the offset from Greenwich is not. An instant
is therefore taken as written and its offset dropped; a server that writes everything in UTC needs the name of the
hospital's zone, and then every instant with an offset is converted to it. A date without a time of day is a whole day,
and a fact is known by its end: only what begins (an admission, a life) takes the beginning.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

__all__ = ["FIRST_TIME", "LAST_TIME", "Clock", "find_zone"]

FIRST_TIME, LAST_TIME = datetime(1678, 1, 1), datetime(2261, 12, 31)  # noqa: DTZ001 - what nanoseconds can hold

_SHAPE: Final = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9})\d*)?)?(Z|[+-]\d\d:?\d\d)?)?)?)?",
    re.ASCII,
)


@dataclass(slots=True)
class Clock:
    """Reads times as written and counts what kinds there were.

    Attributes:
        zone: the hospital's zone, into which instants with an offset are converted; None drops the offset.
        kinds: how many were "with an offset", "in UTC (Z)", "without an offset", "dates".
    """

    zone: ZoneInfo | None = None
    kinds: Counter[str] = field(default_factory=Counter)

    def read(self, written: str, *, start: bool = False) -> datetime | None:
        """Read a FHIR date, dateTime or instant.

        Args:
            written: such as "2012", "2012-05", "2012-05-03" or "2012-05-03T10:15:00.123+02:00".
            start: a date becomes its first moment; otherwise its last second, by which the fact is known.

        Returns:
            The naive time, or None when this is no time between 1678 and 2261.

        >>> Clock().read("2012-05-03T10:15:00+02:00"), Clock().read("2012-02")
        (datetime.datetime(2012, 5, 3, 10, 15), datetime.datetime(2012, 2, 29, 23, 59, 59))
        """
        read, kind = _read(written, start, self.zone)
        if read is not None:
            self.kinds[kind] += 1
        return read

    def read_period(self, start: str, end: str) -> tuple[datetime | None, datetime | None]:
        """Read a beginning and an end.

        When clocks are set back within it, an orderly period ends before it begins by the wall clock; it then ends when
        it begins.

        >>> Clock().read_period("2020-11-01T01:50:00-04:00", "2020-11-01T01:05:00-05:00")[1]
        datetime.datetime(2020, 11, 1, 1, 50)
        """
        began, ended = self.read(start, start=True), self.read(end)
        if began and ended and ended < began and _instant(start) <= _instant(end):
            ended = began
        return began, ended

    def describe(self) -> str:
        """Say in words how times were read."""
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(self.kinds.items()))
        how = f"converted to {self.zone.key} where they had an offset" if self.zone else "as written, offsets dropped"
        return f"{how} ({kinds or 'there were none'})"


def find_zone(name: str) -> ZoneInfo | None:
    """Find a time zone by its IANA name; "" is none.

    Raises:
        ValueError: there is no such zone.
    """
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"unknown time zone {name!r}; write for example Europe/Berlin or America/New_York") from None


@lru_cache(maxsize=1 << 16)
def _read(written: str, start: bool, zone: ZoneInfo | None) -> tuple[datetime | None, str]:  # noqa: FBT001 - a key
    """Read a time and say of what kind it is; the facts of one encounter share their times."""
    found = _SHAPE.fullmatch(written.strip())
    if found is None:
        return None, ""
    try:
        read, kind = (_read_date(found, start=start), "dates") if found[4] is None else _read_instant(found, zone)
    except (ValueError, OverflowError):  # 30 February, or a conversion beyond the year 9999
        return None, ""
    return (read, kind) if FIRST_TIME <= read <= LAST_TIME else (None, "")


def _read_instant(found: re.Match[str], zone: ZoneInfo | None) -> tuple[datetime, str]:
    """Read a time of day."""
    year, month, day, hour, minute = map(int, found.group(1, 2, 3, 4, 5))
    second, micros = int(found[6] or 0), int((found[7] or "0").ljust(6, "0")[:6])
    # FHIR allows the leap second 60, which Python's clock does not have
    read = datetime(year, month, day, hour, minute, 59 if second == 60 else second, micros)  # noqa: DTZ001
    offset = found[8]
    if offset is None:
        return read, "without an offset"
    kind = "in UTC (Z)" if offset == "Z" else "with an offset"
    return (read if zone is None else _moment(read, offset).astimezone(zone).replace(tzinfo=None)), kind


def _instant(written: str) -> float:
    """Give the moment of an instant that has an offset; NaN, which is in no order, for any other time."""
    found = _SHAPE.fullmatch(written.strip())
    if found is None or found[8] is None:
        return float("nan")
    try:
        return _moment(_read_instant(found, None)[0], found[8]).timestamp()
    except (ValueError, OverflowError):  # an offset of more than a day
        return float("nan")


def _moment(read: datetime, offset: str) -> datetime:
    """Attach an offset."""
    return read.replace(tzinfo=_offset(offset))


def _read_date(found: re.Match[str], *, start: bool) -> datetime:
    """Read a year, a month or a day: its first moment or its last second."""
    year, month, day = int(found[1]), int(found[2] or 0), int(found[3] or 0)
    if start:
        return datetime(year, month or 1, day or 1)  # noqa: DTZ001 - event times are naive by the profile
    last_month = month or 12
    last_day = day or monthrange(year, last_month)[1]
    return datetime(year, last_month, last_day, 23, 59, 59)  # noqa: DTZ001


def _offset(written: str) -> timezone:
    """Read an offset such as +02:00."""
    if written == "Z":
        return UTC
    hours, minutes = int(written[1:3]), int(written[-2:])
    return timezone((-1 if written[0] == "-" else 1) * timedelta(hours=hours, minutes=minutes))
