"""What an ingest tells on the terminal when it is done: counts and reasons, and no identifier."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from clinical.site_policy import write_default_policy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clinical.sources.receipt import IngestReport, TablesReport


def finish_notes(report: IngestReport, out: Path) -> None:
    """Give the hospital its default policy and tell what became of documents and codes."""
    _finish(_note_lines(report), f"every refused row is named in {out / 'metadata' / 'ingest.json'}", out)


def finish_tables(report: TablesReport, out: Path) -> None:
    """Give the hospital its default policy and tell what became of the rows."""
    _finish(_table_lines(report), f"every refused row is counted in {out / 'metadata' / 'ingest.json'}", out)


def _finish(lines: Iterator[str], where: str, out: Path) -> None:
    write_default_policy(out, simulated=False)
    for line in lines:
        typer.echo(line)
    typer.echo(f"Written to {out}; {where}")


def _table_lines(report: TablesReport) -> Iterator[str]:
    """Word the receipt of tables for the terminal: counts only."""
    for table, rows in report.tables.items():
        why = "; ".join(f"{number:,} {reason}" for reason, number in rows.refused.items())
        refused = f"{rows.read - rows.kept:,} refused" + (f": {why}" if why else "")
        events = report.events.get(table, 0)
        yield f"{table}: {rows.read:,} rows read, {rows.kept:,} kept ({events:,} events), {refused}"
    yield f"{report.patients:,} patients; times {report.times}"
    for table, repairs in report.repaired.items():
        yield f"{table}: " + "; ".join(f"{number:,} rows with {what}" for what, number in repairs.items())
    if report.missing:
        yield f"not there: {', '.join(report.missing)}"
    if report.unused:
        yield f"there and not used: {', '.join(report.unused)}"
    if report.unknown_codes:
        yield f"{report.unknown_codes:,} events have a diagnosis or procedure code that is in no release (kept)"


def _note_lines(report: IngestReport) -> Iterator[str]:
    """Word the receipt of notes for the terminal: counts only, no identifier."""
    for name, rows in (("documents", report.notes), ("code entries", report.codes)):
        why = "; ".join(f"{number} {reason}" for reason, number in rows.refused.items())
        refused = f"{rows.read - rows.kept:,} refused" + (f": {why}" if why else "")
        yield f"{rows.read:,} {name} read, {rows.kept:,} kept, {refused}"
    yield f"{report.patients} patients; times {report.times}"
    if report.notes_without_codes:
        yield f"{len(report.notes_without_codes)} notes have no code (kept)"
    if report.codes_without_note:
        yield f"{len(report.codes_without_note)} documents have codes and no note (refused)"
    if report.unknown_codes:
        unknown = len(report.unknown_codes)
        yield (
            f"{unknown:,} of {unknown + report.known_codes:,} distinct codes are not "
            "billable codes of the release (kept: categories, retired or local codes)"
        )
