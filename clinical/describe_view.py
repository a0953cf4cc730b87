"""The description of hospitals as tables for a terminal; it shows what `describe` gives and computes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["show"]

_MOST_COLUMNS = 6


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
        if any(hospital[kind]["top"] for hospital in hospitals):
            for start in range(0, len(hospitals), _MOST_COLUMNS):
                console.print(_measurements(hospitals[start : start + _MOST_COLUMNS], kind))
    console.print(
        f"Counts below {description['minimum_cell']} are hidden. Distributions: median (5th to 95th percentile)."
    )


def _overview(hospitals: Sequence[Mapping[str, Any]]) -> Table:
    """Compare hospitals side by side."""
    table = Table(title="Hospitals", title_justify="left")
    table.add_column("")
    for hospital in hospitals:
        table.add_column(hospital["site_id"], justify="right")
    for label, row in _overview_rows(hospitals):
        if any(row):
            table.add_row(label, *row)
    return table


def _overview_rows(hospitals: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """List the rows of the comparison; a row that no hospital fills is left out by the caller."""
    rows = [(name, [_number(hospital[name]) for hospital in hospitals]) for name in ("patients", "admissions", "notes")]
    rows.append(("deaths", [_number(hospital["deaths"]) for hospital in hospitals]))
    rows.append(("words per note", [_spread(hospital["words_per_note"]) for hospital in hospitals]))
    rows.append(("codes per document", [_spread(hospital["codes_per_document"]) for hospital in hospitals]))
    for system in ("ICD10CM", "ICD10PCS", "ICD9CM", "ICD9PROC"):
        rows.append((f"{system} codes", [_system(hospital["codes"]["systems"].get(system)) for hospital in hospitals]))
    rows.append(("kinds of labs", [_number(hospital["labs"]["kinds"]) for hospital in hospitals]))
    rows.append(("kinds of vitals", [_number(hospital["vitals"]["kinds"]) for hospital in hospitals]))
    rows.append(("time span", [_span(hospital) for hospital in hospitals]))
    rows.append(("train / tuning / held out", [_splits(hospital["splits"]) for hospital in hospitals]))
    for what in hospitals[0]["missing"]:
        rows.append((what, [_number(hospital["missing"][what]) for hospital in hospitals]))
    for role in ("notes", "codes"):
        rows.append((f"{role} refused at ingest", [_refused(hospital["ingest"], role) for hospital in hospitals]))
    rows.append(("codes unknown at ingest", [_unknown(hospital["ingest"]) for hospital in hospitals]))
    return rows


def _codes(hospital: Mapping[str, Any]) -> Table:
    """List one hospital's commonest codes."""
    table = Table(title=f"Commonest codes of {hospital['site_id']}", title_justify="left")
    table.add_column("code")
    table.add_column("title", max_width=70)
    table.add_column("documents", justify="right")
    for code in hospital["codes"]["top"]:
        table.add_row(code["code"], code["title"] or "(no title in the release)", _number(code["documents"]))
    return table


def _measurements(hospitals: Sequence[Mapping[str, Any]], kind: str) -> Table:
    """Compare how many patients have each common measurement."""
    table = Table(title=f"Patients with {kind}", title_justify="left")
    table.add_column("")
    shares = [{item["name"]: item["patients"] for item in hospital[kind]["top"]} for hospital in hospitals]
    for hospital in hospitals:
        table.add_column(hospital["site_id"], justify="right")
    for name in dict.fromkeys(name for share in shares for name in share):
        table.add_row(name, *(share.get(name, "") for share in shares))
    return table


def _number(value: float | str) -> str:
    """Group a number's thousands; zero is left empty, hidden counts stay as they are."""
    return value if isinstance(value, str) else f"{value:,}" if value else ""


def _spread(spread: Mapping[str, float] | None) -> str:
    """Word a distribution."""
    return f"{spread['median']:.0f} ({spread['p5']:.0f} to {spread['p95']:.0f})" if spread else ""


def _system(counts: Mapping[str, Any] | None) -> str:
    """Word the codes of one system."""
    return (
        f"{_number(counts['distinct'])}, {_number(counts['with_ten_documents']) or 0} in 10+ documents"
        if counts
        else ""
    )


def _span(hospital: Mapping[str, Any]) -> str:
    """Word the time span, or that times are assumed."""
    if hospital["ingest"] and hospital["ingest"]["times"].startswith("assumed"):
        return "no times (assumed)"
    return " to ".join(hospital["time_span"] or ())


def _splits(splits: Mapping[str, Any] | None) -> str:
    """Word the sizes of the splits."""
    return " / ".join(_number(size) or "0" for size in splits.values()) if splits else "none yet"


def _refused(receipt: Mapping[str, Any] | None, role: str) -> str:
    """Word what an ingest refused."""
    refused = receipt[f"{role}_refused"] if receipt else {}
    return "\n".join(f"{_number(number)} {reason}" for reason, number in refused.items())


def _unknown(receipt: Mapping[str, Any] | None) -> str:
    """Word how many distinct codes their system does not list."""
    return f"{receipt['unknown_codes']:,} of {receipt['unknown_codes'] + receipt['known_codes']:,}" if receipt else ""
