"""`wardround data ingest omop | fhir | meds | yaib`: hospitals that already keep a standard format. A thin edge.

A mistake of the user's leaves here as a ValueError or OSError with one clear line. Everything heavy is imported by the
command that needs it, so that help is instant.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clinical.progress import show_progress
from clinical.sources.receipt_view import finish_tables

__all__ = ["ingest_fhir", "ingest_meds", "ingest_omop", "ingest_yaib"]

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

    with show_progress("reading rows") as advance:
        report = ingest(
            src, out, schema=schema, vocabulary_schema=vocabulary_schema, encoding=encoding, site_id=site_id,
            seed=seed, progress=advance,
        )  # fmt: skip
    finish_tables(report, out)


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

    with show_progress("reading resources") as advance:
        report = ingest(src, out, time_zone=time_zone, site_id=site_id, seed=seed, progress=advance)
    finish_tables(report, out)


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

    with show_progress("reading rows") as advance:
        report = ingest(
            src, out, items=tuple(items or ()), time_zone=time_zone, site_id=site_id, seed=seed, progress=advance
        )
    finish_tables(report, out)


def ingest_yaib(
    src: Annotated[Path, typer.Argument(help="Folder of YAIB's task folders, each with dyn, outc and sta .parquet.")],
    out: Out,
    stays: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Table of stay_id, patient_id and, if wanted, site_id (.csv or .parquet)."),
    ] = None,
    site_id: SiteId = "",
    seed: Seed = 0,
) -> None:
    """Bring YAIB's intensive-care cohorts, with the labels of their tasks, into one hospital folder.

    YAIB does not say whose a stay is: without --stays every stay counts as a patient. Every refused row is counted in
    OUT/metadata/ingest.json.
    """
    from clinical.sources.yaib import ingest_yaib as ingest

    finish_tables(ingest(src, out, stays=stays, site_id=site_id, seed=seed), out)
