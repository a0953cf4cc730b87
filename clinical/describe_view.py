"""The description of hospitals as tables for a terminal; it shows what `describe` gives and computes nothing."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["show"]

_MOST_COLUMNS = 4


def show(description: Mapping[str, Any], console: Console | None = None) -> None:
    """Print a description: one column a hospital, then each hospital's commonest codes and measurements.

    Args:
        description: what `clinical.describe.describe` returned.
        console: where to print; standard output by default.
    """
    console = console or Console()
    hospitals: Sequence[Mapping[str, Any]] = description["hospitals"]
    for start in range(0, len(hospitals), _MOST_COLUMNS):
        console.print(_overview(hospitals[start : start + _MOST_COLUMNS]))
    for hospital in hospitals:
        if hospital["codes"]["top"]:
            console.print(_codes(hospital))
    for kind in ("labs", "vitals"):
        if any(hospital[kind] for hospital in hospitals):
            for start in range(0, len(hospitals), _MOST_COLUMNS):
                console.print(_measurements(hospitals[start : start + _MOST_COLUMNS], kind, top=description["top"]))
    for source in dict.fromkeys(hospital["source"] for hospital in hospitals):
        console.print(f"Source: {source}.")
    console.print(
        f"Counts below {description['minimum_cell']} are hidden. Distributions: median (5th to 95th percentile)."
    )


def _overview(hospitals: Sequence[Mapping[str, Any]]) -> Table:
    """Compare hospitals side by side."""
    table = _plain_table("Hospitals")
    table.add_column("")
    for hospital in hospitals:
        table.add_column(hospital["site_id"], justify="right", no_wrap=True)
    for label, row in _overview_rows(hospitals):
        if any(row):
            table.add_row(label, *row)
    return table


def _overview_rows(hospitals: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """List the rows of the comparison; a row that no hospital fills is left out by the caller."""
    systems = ("ICD10CM", "ICD10PCS", "ICD9CM", "ICD9PROC")
    cells: dict[str, Callable[[Mapping[str, Any]], str]] = {
        **{name: partial(_named, name) for name in ("patients", "admissions", "notes", "deaths")},
        "words per note": partial(_spread, "words_per_note"),
        "codes per document": partial(_spread, "codes_per_document"),
        **{f"{system} codes": partial(_system, system, "distinct") for system in systems},
        **{f"{system} in 10+ documents": partial(_system, system, "with_ten_documents") for system in systems},
        "kinds of labs": lambda hospital: _number(len(hospital["labs"])),
        "kinds of vitals": lambda hospital: _number(len(hospital["vitals"])),
        "time span": _span,
        **{f"{split.replace('_', ' ')} patients": partial(_split, split) for split in ("train", "tuning", "held_out")},
        **{what: partial(_missing, what) for what in hospitals[0]["missing"]},
        "notes refused at ingest": partial(_refused, "notes"),
        "codes refused at ingest": partial(_refused, "codes"),
        "rows refused at ingest": partial(_refused, "rows"),
        "codes unknown at ingest": lambda hospital: _unknown(hospital["ingest"]),
    }
    return [(label, [cell(hospital) for hospital in hospitals]) for label, cell in cells.items()]


def _codes(hospital: Mapping[str, Any]) -> Table:
    """List one hospital's commonest codes."""
    table = _plain_table(f"Commonest codes of {hospital['site_id']}")
    table.add_column("code")
    table.add_column("title", max_width=60)
    table.add_column("documents", justify="right")
    for code in hospital["codes"]["top"]:
        table.add_row(code["code"], code["title"] or "(no title in the release)", _number(code["documents"]))
    return table


def _measurements(hospitals: Sequence[Mapping[str, Any]], kind: str, *, top: int) -> Table:
    """Compare how many patients have each measurement that is among the commonest anywhere."""
    table = _plain_table(f"Patients with each of their {top} commonest {kind}")
    table.add_column("")
    for hospital in hospitals:
        table.add_column(hospital["site_id"], justify="right", no_wrap=True)
    for name in dict.fromkeys(name for hospital in hospitals for name in list(hospital[kind])[:top]):
        table.add_row(name, *(hospital[kind].get(name, "") for hospital in hospitals))
    return table


def _plain_table(title: str) -> Table:
    """Start a table that leaves the terminal's width to its cells."""
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)


def _number(value: float | str) -> str:
    """Group a number's thousands; zero is left empty, hidden counts stay as they are."""
    return value if isinstance(value, str) else f"{value:,}" if value else ""


def _named(name: str, hospital: Mapping[str, Any]) -> str:
    """Word one of the hospital's plain counts."""
    return _number(hospital[name])


def _missing(what: str, hospital: Mapping[str, Any]) -> str:
    """Word a count of what is missing."""
    return _number(hospital["missing"][what])


def _spread(name: str, hospital: Mapping[str, Any]) -> str:
    """Word a distribution."""
    spread = hospital[name]
    return f"{spread['median']:.0f} ({spread['p5']:.0f}-{spread['p95']:.0f})" if spread else ""


def _system(system: str, what: str, hospital: Mapping[str, Any]) -> str:
    """Word one count of the codes of one system."""
    counts = hospital["codes"]["systems"].get(system)
    return _number(counts[what]) if counts else ""


def _span(hospital: Mapping[str, Any]) -> str:
    """Word the time span, or that times are assumed."""
    return "(assumed)" if hospital["times_assumed"] else "\n".join(hospital["time_span"] or ())


def _split(name: str, hospital: Mapping[str, Any]) -> str:
    """Word the size of one split."""
    return _number(hospital["splits"][name]) if hospital["splits"] else "not split"


def _refused(role: str, hospital: Mapping[str, Any]) -> str:
    """Word what an ingest refused."""
    receipt = hospital["ingest"]
    refused = receipt.get(f"{role}_refused", {}) if receipt else {}
    return "\n".join(f"{_number(number)} {reason}" for reason, number in refused.items())


def _unknown(receipt: Mapping[str, Any] | None) -> str:
    """Word how many distinct codes their system does not list."""
    if not receipt or "known_codes" not in receipt:
        return ""
    return f"{receipt['unknown_codes']:,} of {receipt['unknown_codes'] + receipt['known_codes']:,}"
