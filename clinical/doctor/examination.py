"""One pass over hospitals that asks every check and keeps only what checks gather: counts and small sets by patient."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from clinical.doctor import CHECKS
from clinical.doctor.findings import SEVERITIES, Check, Count, Finding, add_counts
from clinical.doctor.hospital import Hospital, SiteTerms
from clinical.networks import list_hospitals

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from clinical.doctor.findings import Counts

__all__ = ["NETWORK", "Examination", "examine"]

NETWORK: Final = "(network)"
_SLACK_US: Final = 86_400_000_000  # a day: clocks and time zones differ


@dataclass(frozen=True, slots=True)
class Examination:
    """What was asked and what was found.

    Attributes:
        hospitals: their names.
        findings: the worst first, then in the order of the checks.
        checks: by id, "in order", "found" or "nothing to look at" over all hospitals.
    """

    hospitals: tuple[str, ...]
    findings: tuple[Finding, ...]
    checks: Mapping[str, str]

    @property
    def wrong(self) -> bool:
        """Whether a study of these hospitals would be wrong."""
        return any(finding.severity == "wrong" for finding in self.findings)

    def count(self, status: str) -> int:
        """Count the checks with one outcome."""
        return sum(each == status for each in self.checks.values())

    def record(self) -> dict[str, Any]:
        """Give everything as JSON-able values."""
        return {
            "hospitals": list(self.hospitals),
            "wrong": self.wrong,
            "asked": len(self.checks),
            "in_order": self.count("in order"),
            "nothing_to_look_at": self.count("nothing to look at"),
            "checks": [
                {"id": check.id, "group": group, "severity": check.severity, "outcome": self.checks[check.id]}
                for group, checks in CHECKS.items()
                for check in checks
            ],
            "findings": [asdict(finding) for finding in self.findings],
        }


def examine(path: Path, *, terms: Callable[[Path], SiteTerms] = lambda _: SiteTerms(), now_us: int) -> Examination:
    """Examine a hospital, or every hospital of a network and what they share.

    Args:
        path: a hospital or a folder of hospitals.
        terms: gives what each hospital asks of a study, by its folder.
        now_us: the present in microseconds since 1970; later events have not happened. The files of a hospital may be
            older, and then their own age counts.

    Raises:
        ProfileError: there is no hospital at `path`.

    Guarantee: nothing in the result is a cell of a table, and nothing a hospital's files hold raises.
    """
    outcomes: dict[str, list[Counts | None]] = {check.id: [] for check in _checks()}
    gathered: dict[str, dict[str, list[Any]]] = {check.id: {} for check in _checks() if check.network}
    findings: list[Finding] = []
    folders = list_hospitals(Path(path))
    for folder in folders:
        hospital = Hospital(folder, terms(folder), now=_written(folder, now_us))
        parts = _gather(hospital)
        for group, checks in CHECKS.items():
            for check in checks:
                if check.network:
                    gathered[check.id][str(folder)] = parts[check.id]
                    continue
                counts = _conclude(check, hospital, parts[check.id])
                outcomes[check.id].append(counts)
                findings += _findings(check, group, hospital.name, counts or {})
    for group, checks in CHECKS.items():
        for check in checks:
            if check.network:
                counts = check.network(gathered[check.id])
                outcomes[check.id].append(counts)
                findings += _findings(check, group, NETWORK, counts or {})
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return Examination(
        tuple(folder.absolute().name for folder in folders),
        tuple(findings),
        {name: _outcome(counts) for name, counts in outcomes.items()},
    )


def _checks() -> list[Check]:
    return [check for checks in CHECKS.values() for check in checks]


def _gather(hospital: Hospital) -> dict[str, list[Any]]:
    """Ask every check about every shard; checks that gather the same thing share it."""
    parts: dict[str, list[Any]] = {check.id: [] for check in _checks()}
    for shard in hospital.shards():
        once: dict[Any, Any] = {}
        for check in _checks():
            if check.shard is not None:
                if check.shard not in once:
                    once[check.shard] = check.shard(shard)
                parts[check.id].append(once[check.shard])
    return parts


def _conclude(check: Check, hospital: Hospital, parts: list[Any]) -> Counts | None:
    if check.hospital is not None:
        return check.hospital(hospital, parts)
    return add_counts(parts) if parts else None


def _findings(check: Check, group: str, hospital: str, counts: Mapping[str, Count]) -> list[Finding]:
    return [
        Finding(
            id=check.id,
            severity=check.severity,
            hospital=hospital,
            group=group,
            concern=concern,
            count=found.count,
            unit=check.unit,
            patients=found.patients,
            meaning=check.meaning,
            remedy=check.remedy,
        )
        for concern, found in counts.items()
    ]


def _outcome(counts: list[Counts | None]) -> str:
    if any(counts):
        return "found"
    return "nothing to look at" if all(each is None for each in counts) else "in order"


def _written(folder: Path, now_us: int) -> int:
    """The moment the hospital's events were written, with some slack; the present when that is earlier."""
    times = [path.stat().st_mtime_ns // 1000 for path in (folder / "data").glob("*.parquet")]
    return min(now_us, max(times, default=now_us)) + _SLACK_US
