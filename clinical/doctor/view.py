"""What the doctor found, for a terminal: the worst first, and in the end what was asked and in order."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from clinical.doctor import CHECKS
from clinical.doctor.findings import SEVERITIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clinical.doctor.examination import Examination
    from clinical.doctor.findings import Finding

__all__ = ["show"]

_TITLES = {
    "wrong": "Wrong: a study of these data would be wrong",
    "doubtful": "Doubtful: look at it before a study",
    "note": "Notes: know it",
}
_STYLES = {"wrong": "bold red", "doubtful": "bold yellow", "note": "bold"}
_MOST_PLACES = 8


def show(examination: Examination, console: Console | None = None) -> None:
    """Print an examination.

    Args:
        examination: what `clinical.doctor.examination.examine` returned.
        console: where to print; standard output by default.
    """
    console = console or Console()
    several = len(examination.hospitals) > 1
    for severity in SEVERITIES:
        chosen = [finding for finding in examination.findings if finding.severity == severity]
        if chosen:
            console.print(Text(_TITLES[severity], _STYLES[severity]))
            for _, same in groupby(sorted(chosen, key=_place), key=_place):
                _show_check(list(same), console, several=several)
    console.print(_overview(examination))
    console.print(_sum_up(examination))


def _place(finding: Finding) -> int:
    """The place of a finding's check in the table of checks."""
    order = [check.id for checks in CHECKS.values() for check in checks]
    return order.index(finding.id)


def _show_check(findings: Sequence[Finding], console: Console, *, several: bool) -> None:
    """Print one check: its name, what it means, where it was found, and what to do."""
    first = findings[0]
    console.print(Text.assemble("\n", (first.id, "bold"), (f"  {first.group}", "dim")))
    console.print(Padding(Text(first.meaning), (0, 0, 0, 2)))
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(justify="right", no_wrap=True)
    for _ in range(3 if several else 2):
        table.add_column()
    worst = sorted(findings, key=lambda finding: -finding.count)
    for finding in worst[:_MOST_PLACES]:
        table.add_row(*_row(finding, several=several))
    console.print(Padding(table, (0, 0, 0, 4)))
    if rest := worst[_MOST_PLACES:]:
        more = f"and {len(rest)} more places, {sum(finding.count for finding in rest):,} {first.unit} together"
        console.print(Padding(Text(more, "dim"), (0, 0, 0, 4)))
    console.print(Padding(Text(f"→ {first.remedy}"), (0, 0, 0, 2)))


def _row(finding: Finding, *, several: bool) -> list[Text]:
    """Word where a check found something."""
    unit = finding.unit if finding.count != 1 else _SINGULAR.get(finding.unit, finding.unit.removesuffix("s"))
    of = "" if not finding.patients or finding.unit == "patients" else _patients(finding.patients)
    where = [Text(finding.hospital)] if several else []
    return [Text(f"{finding.count:,} {unit}"), *where, Text(finding.concern), Text(of, "dim")]


_SINGULAR = {"classes": "class"}


def _patients(number: int) -> str:
    return f"{number:,} patient{'s' * (number != 1)}"


def _overview(examination: Examination) -> Table:
    """Count the checks of each group by their outcome."""
    table = Table(title="\nWhat was asked", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for name in ("checks", "in order", "found", "nothing to look at"):
        table.add_column(name, justify="right")
    for group, checks in CHECKS.items():
        outcomes = [examination.checks[check.id] for check in checks]
        counts = [outcomes.count(name) for name in ("in order", "found", "nothing to look at")]
        table.add_row(group, str(len(checks)), *(str(count or "") for count in counts))
    return table


def _sum_up(examination: Examination) -> Text:
    """Say in one line how it stands."""
    counts = dict.fromkeys(SEVERITIES, 0)
    for name in {finding.id for finding in examination.findings}:
        counts[next(finding.severity for finding in examination.findings if finding.id == name)] += 1
    found = f"{counts['wrong']} found something wrong, {counts['doubtful']} something doubtful, {counts['note']} a note"
    idle = examination.count("nothing to look at")
    line = f"{len(examination.checks)} checks, {examination.count('in order')} in order; {found}"
    return Text(f"{line}; {idle} had nothing to look at." if idle else f"{line}.")
