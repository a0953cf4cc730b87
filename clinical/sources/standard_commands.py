"""`wardround data ingest omop | fhir | meds`: hospitals that already keep a standard format. A thin edge.

A mistake of the user's leaves here as a ValueError or OSError with one clear line. Everything heavy is imported by the
command that needs it, so that help is instant.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from clinical.sources.receipt import TablesReport

__all__ = ["ingest_fhir", "ingest_meds", "ingest_omop", "receipt_lines"]

Out = Annotated[Path, typer.Argument(help="Hospital folder to write; absent or empty.")]
SiteId = Annotated[str, typer.Option(metavar="NAME", help="The hospital's name; the folder's when not given.")]
Seed = Annotated[int, typer.Option(help="Decides the splits.")]
TimeZone = Annotated[
    str,
    typer.Option(metavar="ZONE", help="The hospital's zone, such as Europe/Berlin: times with a zone become its own."),
]


def ingest_omop(
    src: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER|URL",
            help="Folder of exported tables, or a database: postgresql+psycopg://user@host/database.",
        ),
    ],
    out: Out,
    schema: Annotated[str, typer.Option(metavar="NAME", help="Of the tables in a database.")] = "",
    vocabulary_schema: Annotated[str, typer.Option(metavar="NAME", help="Of the concept table, if elsewhere.")] = "",
    encoding: Annotated[str, typer.Option(help="Of exported files, such as utf-8 or latin-1.")] = "utf-8",
    site_id: SiteId = "",
    seed: Seed = 0,
) -> None:
    """Bring an OMOP CDM 5.4 (or 5.3) into one hospital folder, from exported tables or from a live database.

    A database is only read, in one read-only transaction where it has those. Keep the password out of SRC: PostgreSQL
    takes it from PGPASSWORD or ~/.pgpass. Every refused row is counted in OUT/metadata/ingest.json.
    """
    from clinical.sources.omop import ingest_omop as ingest

    with _progress("reading rows") as advance:
        report = ingest(
            src, out, schema=schema, vocabulary_schema=vocabulary_schema, encoding=encoding, site_id=site_id,
            seed=seed, progress=advance,
        )  # fmt: skip
    _finish(report, out)


def ingest_fhir(
    src: Annotated[Path, typer.Argument(help="Folder of .ndjson or Bundle .json files (each also .gz), or one file.")],
    out: Out,
    time_zone: TimeZone = "",
    site_id: SiteId = "",
    seed: Seed = 0,
) -> None:
    """Bring a FHIR R4 export (bulk NDJSON or Bundles) into one hospital folder.

    Times are taken as written and their offset dropped; a server that writes UTC needs --time-zone. Every refused
    resource is counted in OUT/metadata/ingest.json, with its line.
    """
    from clinical.sources.fhir import ingest_fhir as ingest

    with _progress("reading resources") as advance:
        report = ingest(src, out, time_zone=time_zone, site_id=site_id, seed=seed, progress=advance)
    _finish(report, out)


def ingest_meds(
    src: Annotated[Path, typer.Argument(help="Folder of a MEDS data set.")],
    out: Out,
    items: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Table that names numbered items: MIMIC's d_labitems, d_items. Repeatable."),
    ] = None,
    time_zone: TimeZone = "",
    site_id: SiteId = "",
    seed: Seed = 0,
) -> None:
    """Bring a MEDS 0.3 or 0.4 data set of another writer into one hospital folder.

    Codes are translated where their meaning is certain and otherwise kept; splits that the data set has are kept.
    Every refused row is counted in OUT/metadata/ingest.json.
    """
    from clinical.sources.meds import ingest_meds as ingest

    with _progress("reading rows") as advance:
        report = ingest(
            src, out, items=tuple(items or ()), time_zone=time_zone, site_id=site_id, seed=seed, progress=advance
        )
    _finish(report, out)


def receipt_lines(report: TablesReport) -> Iterator[str]:
    """Word a receipt for the terminal: counts only."""
    for table, rows in report.tables.items():
        why = "; ".join(f"{number:,} {reason}" for reason, number in rows.refused.items())
        refused = f"{rows.read - rows.kept:,} refused" + (f": {why}" if why else "")
        yield f"{table}: {rows.read:,} read, {rows.kept:,} kept, {report.events.get(table, 0):,} events, {refused}"
    yield f"{report.patients:,} patients; times {report.times}"
    if report.missing:
        yield f"not there: {', '.join(report.missing)}"
    if report.unused:
        yield f"there and not used: {', '.join(report.unused)}"
    if report.unknown_codes:
        yield f"{report.unknown_codes:,} events have an ICD code that is in no release (kept)"


def _finish(report: TablesReport, out: Path) -> None:
    """Give the hospital its default policy and tell what became of the rows."""
    from clinical.commands import write_default_policy

    write_default_policy(out, simulated=False)
    for line in receipt_lines(report):
        typer.echo(line)
    typer.echo(f"Written to {out}; what was refused stands in {out / 'metadata' / 'ingest.json'}")


@contextmanager
def _progress(label: str) -> Iterator[Callable[[int], None]]:
    """Show a running count on standard error; it is silent where nobody watches."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done: bar.advance(task, done)
