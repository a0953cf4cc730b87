"""`wardround data export`: a hospital in a format that others keep. A thin edge.

A mistake of the user's leaves here as a ValueError or OSError with one clear line.
"""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  # Typer resolves annotations at run time
from typing import Annotated

import typer

from clinical.progress import show_progress

__all__ = ["export_app"]

export_app = typer.Typer(help="Write a hospital in another format.", no_args_is_help=True, add_completion=False)


@export_app.callback()
def export() -> None:
    """Write a hospital in another format."""


@export_app.command("omop")
def export_omop(
    hospital: Annotated[Path, typer.Argument(help="The hospital's folder.")],
    url: Annotated[
        str, typer.Argument(metavar="URL", help="An empty database: postgresql+psycopg://user@host/database.")
    ],
) -> None:
    """Write a hospital into an empty database as OMOP CDM 5.4 tables, which `ingest omop` reads back.

    Keep the password out of URL: PostgreSQL takes it from PGPASSWORD or ~/.pgpass.
    """
    from clinical.sources.omop_export import export_omop as write

    with show_progress("writing rows") as advance:
        export = write(hospital, url, progress=advance)
    typer.echo(", ".join(f"{number} rows of {table}" for table, number in export.rows.items()))
    if export.left_out:
        typer.echo("no place in OMOP: " + ", ".join(f"{number} {kind}" for kind, number in export.left_out.items()))
