"""`wardround data`: make, bring in, label, divide, describe and embed hospitals. A thin edge: parse, call, show.

A mistake of the user's arrives here as a ValueError or OSError with one clear line and is left to `wardround`, which
prints that line and exits with 2. Everything heavy is imported by the command that needs it, so that help is instant.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clinical.label_commands import label
from clinical.progress import show_progress
from clinical.site_policy import write_default_policy
from clinical.sources.commands import ingest_app
from clinical.sources.export_commands import export_app

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["app", "ingest_app", "write_default_policy"]

app = typer.Typer(
    help="Make, bring in, label, divide, describe and embed hospitals.", no_args_is_help=True, add_completion=False
)
app.add_typer(ingest_app, name="ingest")
app.command()(label)
app.add_typer(export_app, name="export")

Out = Annotated[Path, typer.Argument(help="Folder to write; absent or empty.")]
Where = Annotated[Path, typer.Argument(help="A hospital, or a folder of hospitals.")]
Seed = Annotated[int, typer.Option(help="Decides everything that is drawn.")]


@app.command()
def simulate(
    out: Out,
    hospitals: Annotated[int, typer.Option(min=1, help="How many hospitals.")] = 4,
    patients: Annotated[int, typer.Option(min=1, help="How many patients in all of them together.")] = 2000,
    seed: Seed = 0,
) -> None:
    """Make a network of hospitals at OUT whose patients do not exist."""
    from clinical.simulation import simulate_network

    with show_progress("simulating patients", total=patients) as advance:
        steps = _steps(advance)
        manifests = simulate_network(out, hospitals=hospitals, patients=patients, seed=seed, progress=steps)
    for manifest in manifests:
        write_default_policy(out / manifest.site_id, simulated=True)
    _say(f"{len(manifests)} hospitals with {sum(m.patients for m in manifests)} patients in {out}")


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
    from clinical.networks import list_hospitals
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
    from clinical.networks import list_hospitals
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
