"""`wardround data`: make, bring in, divide, describe and embed hospitals. A thin edge: parse, call, show.

A mistake of the user's arrives here as a ValueError or OSError with one clear line and is left to `wardround`, which
prints that line and exits with 2. Everything heavy is imported by the command that needs it, so that help is instant.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from clinical.sources.receipt import IngestReport

__all__ = ["app", "ingest_app", "write_default_policy"]

POLICY_FILE = "policy.toml"

app = typer.Typer(
    help="Make, bring in, divide, describe and embed hospitals.", no_args_is_help=True, add_completion=False
)
ingest_app = typer.Typer(help="Bring real records into a hospital folder.", no_args_is_help=True)
app.add_typer(ingest_app, name="ingest")

Out = Annotated[Path, typer.Argument(help="Folder to write; absent or empty.")]
Where = Annotated[Path, typer.Argument(help="A hospital, or a folder of hospitals.")]
Seed = Annotated[int, typer.Option(help="Decides everything that is drawn.")]
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


@app.command()
def simulate(
    out: Out,
    hospitals: Annotated[int, typer.Option(min=1, help="How many hospitals.")] = 4,
    patients: Annotated[int, typer.Option(min=1, help="How many patients in all of them together.")] = 2000,
    seed: Seed = 0,
) -> None:
    """Make a network of hospitals at OUT whose patients do not exist."""
    from clinical.simulation import simulate_network

    with _progress("simulating patients", total=patients) as advance:
        steps = _steps(advance)
        manifests = simulate_network(out, hospitals=hospitals, patients=patients, seed=seed, progress=steps)
    for manifest in manifests:
        write_default_policy(out / manifest.site_id, simulated=True)
    _say(f"{len(manifests)} hospitals with {sum(m.patients for m in manifests)} patients in {out}")


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
    encoding: Annotated[str, typer.Option(help="Of every text file, such as utf-8, latin-1 or cp1252.")] = "utf-8",
    site_id: Annotated[
        str, typer.Option(metavar="NAME", help="The hospital's name; the folder's when not given.")
    ] = "",
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
    with _progress("reading documents") as advance:
        report = ingest_notes(src, out, options=options, site_id=site_id, seed=seed, progress=advance)
    write_default_policy(out, simulated=False)
    for line in _receipt_lines(report):
        _say(line)
    _say(f"Written to {out}; every refused row is named in {out / 'metadata' / 'ingest.json'}")


@app.command()
def partition(
    src: Where,
    out: Out,
    method: Annotated[str, typer.Option(help="iid, label-skew, quantity-skew or column.")] = "iid",
    hospitals: Annotated[int, typer.Option(help="How many; 0 with --method column: one for each value.")] = 4,
    alpha: Annotated[float, typer.Option(help="Skews: small is very uneven, 100 nearly even.")] = 0.5,
    column: Annotated[str, typer.Option(help="Method column: site_id, or a code prefix such as RACE//.")] = "",
    minimum_patients: Annotated[int, typer.Option(help="Refuse a division with a smaller hospital.")] = 20,
    seed: Seed = 0,
) -> None:
    """Divide the patients of SRC among several hospitals written to OUT; no patient is ever split."""
    from typing import cast

    from clinical.partition import Method, partition_hospital

    manifests = partition_hospital(
        src, out, method=cast("Method", method), hospitals=hospitals, seed=seed, alpha=alpha, column=column,
        minimum_patients=minimum_patients,
    )  # fmt: skip
    for manifest in manifests:
        write_default_policy(out / manifest.site_id, simulated=False)
        _say(f"{manifest.site_id}: {manifest.patients} patients, {manifest.documents} notes")


@app.command()
def merge(network: Where, out: Out) -> None:
    """Bring the hospitals of NETWORK together into one at OUT, keeping sites and splits."""
    from clinical.events import list_hospitals
    from clinical.partition import merge_hospitals

    manifest = merge_hospitals(list_hospitals(network), out)
    write_default_policy(out, simulated=False)
    _say(f"{manifest.site_id}: {manifest.patients} patients, {manifest.documents} notes")


@app.command()
def describe(
    path: Where,
    minimum_cell: Annotated[int, typer.Option(help="Smaller counts are hidden.")] = 5,
    top: Annotated[int, typer.Option(help="How many codes and kinds of measurement to list.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Say what the hospital or network at PATH holds, in counts that point at nobody."""
    from clinical.describe import describe as describe_hospitals

    description = describe_hospitals(path, minimum_cell=minimum_cell, top=top)
    if as_json:
        typer.echo(json.dumps(description, indent=1, ensure_ascii=False))
        return
    from clinical.describe_view import show

    show(description)


@app.command()
def embed(
    path: Where,
    encoder: Annotated[
        str, typer.Option(help="sentence-transformers name or folder; the built-in MiniLM if empty.")
    ] = "",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Embed the notes of the hospital or network at PATH ahead of a study, each text once."""
    from clinical.events import list_hospitals
    from clinical.notes import embed_notes, load_encoder
    from clinical.tasks.coding import read_documents

    hospitals = list_hospitals(path)
    model = load_encoder(encoder, device=device)
    for hospital in hospitals:
        # Either label space drops documents without a code in it; a study of either finds its texts embedded.
        spaces = [read_documents(hospital, system=space, translate=True)[0] for space in ("icd10", "icd9")]
        texts = list(dict.fromkeys(text for documents in spaces for text in documents.text))
        embeddings = embed_notes(texts, model, side_car=hospital / "embeddings", progress=True)
        _say(f"{hospital.name}: {len(embeddings)} notes in {len(embeddings.vectors)} chunks, {model.identity}")


def write_default_policy(hospital: Path, *, simulated: bool) -> bool:
    """Give a hospital the commented default policy unless it has one.

    Args:
        hospital: its folder.
        simulated: whether its patients are made up, which allows a high privacy ceiling.

    Returns:
        Whether a policy was written; an existing one is the hospital's own and never touched.
    """
    from clinical.labels import list_labels
    from clinical.site_policy import DEFAULT_POLICY, SIMULATED_POLICY, default_policy

    path = hospital / POLICY_FILE
    if path.exists():
        return False
    tasks = list_labels(hospital)
    real = default_policy(tasks) if tasks else DEFAULT_POLICY
    path.write_text(SIMULATED_POLICY if simulated else real, encoding="utf-8")
    return True


def _receipt_lines(report: IngestReport) -> Iterator[str]:
    """Word a receipt for the terminal: counts only, no identifier."""
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


@contextmanager
def _progress(label: str, *, total: int | None = None) -> Iterator[Callable[..., Any]]:
    """Show a progress bar on standard error; it is silent where nobody watches."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda done: bar.advance(task, done)


def _steps(advance: Callable[[int], None]) -> Callable[[int, int], None]:
    """Turn a running total into steps."""
    shown = 0

    def progress(done: int, _: int) -> None:
        nonlocal shown
        advance(done - shown)
        shown = done

    return progress


def _say(line: str) -> None:
    """Tell the user one line."""
    typer.echo(line)
