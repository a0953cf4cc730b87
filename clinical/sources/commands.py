"""`wardround data ingest`: bring what a hospital has into one hospital folder, one command a source. A thin edge.

A mistake of the user's arrives here as a ValueError or OSError with one clear line and is left to `wardround`, which
prints that line and exits with 2. Everything heavy is imported by the command that needs it, so that help is instant.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clinical.progress import show_bytes, show_progress
from clinical.sources.receipt_view import finish_notes, finish_tables
from clinical.sources.standard_commands import ingest_fhir, ingest_meds, ingest_omop, ingest_yaib

if TYPE_CHECKING:
    from clinical.sources.cells import DateOrder
    from clinical.sources.eicu_stays import Sites
    from clinical.sources.intake import TableOptions

ingest_app = typer.Typer(help="Bring real records into a hospital folder.", no_args_is_help=True)
STANDARDS = (("omop", ingest_omop), ("fhir", ingest_fhir), ("meds", ingest_meds), ("yaib", ingest_yaib))
for _name, _ingest in STANDARDS:
    ingest_app.command(_name)(_ingest)

Out = Annotated[Path, typer.Argument(help="Folder to write; absent or empty.")]
Seed = Annotated[int, typer.Option(help="Decides the splits.")]
SiteId = Annotated[str, typer.Option(metavar="NAME", help="The hospital's name; the folder's when not given.")]
Encoding = Annotated[str, typer.Option(help="Of every text file, such as utf-8, latin-1 or cp1252.")]
NoteFiles = Annotated[
    list[str], typer.Argument(help="Folders of .txt files, or note tables (.csv, .tsv, .parquet, .gz); globs too.")
]
CodeFiles = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE", help="Table of (document, code), with or without header. Repeatable; a quoted glob is fine."
    ),
]
MixedFiles = Annotated[
    list[str] | None, typer.Option(metavar="FILE", help="The same with diagnoses and procedures mixed.")
]
Column = Annotated[str, typer.Option(metavar="NAME", help="Recognised by its usual names when not given.")]
EmbeddedColumn = Annotated[str, typer.Option(metavar="NAME", help="Codes beside the text, separated by ; or |.")]
TableFolder = Annotated[Path, typer.Argument(help="Folder of the exported tables (.csv or .csv.gz).")]
Dates = Annotated[
    str,
    typer.Option(
        metavar="ORDER",
        help="day-first or month-first: how 3/4/2150 is meant in files that went through a spreadsheet. "
        "Rows with such dates are refused when it is not given.",
    ),
]


@ingest_app.command("notes")
def ingest_coded_notes(
    src: NoteFiles,
    out: Out,
    diagnoses: CodeFiles = None,
    procedures: CodeFiles = None,
    codes: MixedFiles = None,
    document_column: Column = "",
    patient_column: Column = "",
    text_column: Column = "",
    time_column: Column = "",
    diagnoses_column: EmbeddedColumn = "",
    procedures_column: EmbeddedColumn = "",
    codes_column: EmbeddedColumn = "",
    code_document_column: Column = "",
    code_column: Column = "",
    diagnosis_system: Annotated[str, typer.Option(help="ICD10CM or ICD9CM.")] = "ICD10CM",
    procedure_system: Annotated[str, typer.Option(help="ICD10PCS or ICD9PROC.")] = "ICD10PCS",
    encoding: Encoding = "utf-8",
    site_id: SiteId = "",
    seed: Seed = 0,
) -> None:
    """Bring coded notes (texts and their codes) into one hospital folder.

    SRC is one or more folders of .txt files, whose names without .txt are the documents, or tables of notes (.csv,
    .tsv, .parquet, also .gz). OUT is the hospital folder to write. The codes are in tables of (document, code) named
    by --diagnoses and --procedures, or in columns of the note table. Nothing is dropped silently: every refused row
    is counted and named in OUT/metadata/ingest.json.
    """
    from clinical.sources.notes import NoteOptions, ingest_notes

    options = NoteOptions(
        diagnoses=tuple(diagnoses or ()),
        procedures=tuple(procedures or ()),
        codes=tuple(codes or ()),
        document_column=document_column,
        patient_column=patient_column,
        text_column=text_column,
        time_column=time_column,
        diagnoses_column=diagnoses_column,
        procedures_column=procedures_column,
        codes_column=codes_column,
        code_document_column=code_document_column,
        code_column=code_column,
        diagnosis_system=diagnosis_system,
        procedure_system=procedure_system,
        encoding=encoding,
    )
    with show_progress("reading documents") as advance:
        report = ingest_notes(src, out, options=options, site_id=site_id, seed=seed, progress=advance)
    finish_notes(report, out)


@ingest_app.command("mimic-iv")
def ingest_mimic_iv_export(
    src: TableFolder,
    out: Out,
    encoding: Encoding = "utf-8",
    dates: Dates = "",
    site_id: SiteId = "",
    seed: Seed = 0,
) -> None:
    """Bring a MIMIC-IV export into one hospital folder.

    SRC holds hosp/, icu/ and, if you have it, note/, or all their tables in one folder. Only patients and admissions
    must be there. What each table becomes is listed in docs/data.md; every refused row is counted in
    OUT/metadata/ingest.json.
    """
    from clinical.sources.mimic_iv import ingest_mimic_iv

    options = _options(site_id, seed=seed, encoding=encoding, dates=dates)
    with show_bytes("reading MIMIC-IV") as progress:
        report = ingest_mimic_iv(src, out, options=options, progress=progress)
    finish_tables(report, out)


@ingest_app.command("mimic-iii")
def ingest_mimic_iii_export(
    src: TableFolder,
    out: Out,
    encoding: Encoding = "utf-8",
    dates: Dates = "",
    site_id: SiteId = "",
    seed: Seed = 0,
) -> None:
    """Bring a MIMIC-III export into one hospital folder.

    Only PATIENTS and ADMISSIONS must be there. What each table becomes is listed in docs/data.md; every refused row is
    counted in OUT/metadata/ingest.json.
    """
    from clinical.sources.mimic_iii import ingest_mimic_iii

    options = _options(site_id, seed=seed, encoding=encoding, dates=dates)
    with show_bytes("reading MIMIC-III") as progress:
        report = ingest_mimic_iii(src, out, options=options, progress=progress)
    finish_tables(report, out)


@ingest_app.command("eicu")
def ingest_eicu_export(
    src: TableFolder,
    out: Out,
    sites: Annotated[
        str,
        typer.Option(help="hospital, or region-size: small hospitals grouped by region and number of beds."),
    ] = "hospital",
    encoding: Encoding = "utf-8",
    site_id: SiteId = "",
    seed: Seed = 0,
) -> None:
    """Bring an eICU-CRD export into one hospital folder whose events name their hospital.

    Only patient must be there (and hospital, for --sites region-size). To make a federation of it:
    wardround data partition OUT NETWORK --method column --column site_id --hospitals 0. The dates are ours, since the
    data set has none; every refused row is counted in OUT/metadata/ingest.json.
    """
    from typing import cast

    from clinical.sources.eicu import ingest_eicu

    options = _options(site_id, seed=seed, encoding=encoding, dates="")
    with show_bytes("reading eICU-CRD") as progress:
        report = ingest_eicu(src, out, options=options, sites=cast("Sites", sites), progress=progress)
    finish_tables(report, out)


def _options(site_id: str, *, seed: int, encoding: str, dates: str) -> TableOptions:
    """Collect what the user said about an export."""
    from typing import cast

    from clinical.sources.intake import TableOptions

    return TableOptions(site_id=site_id, seed=seed, encoding=encoding, dates=cast("DateOrder", dates))
