"""`wardround synth`: specify, check and synthesise a table. A thin edge: parse, call, show.

A mistake of the user's arrives here as a ValueError or OSError with one clear line and is left to `wardround`, which
prints that line and exits with 2.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Make synthetic cohorts of a table: specify, check, fit, draw.",
    no_args_is_help=True,
    add_completion=False,
)

Table = Annotated[Path, typer.Argument(help="A table: .csv, .csv.gz or .parquet; or a folder of several.")]
Out = Annotated[Path, typer.Option(help="Folder to write; absent or empty.")]
PlanFile = Annotated[Path, typer.Argument(help="TOML with [table], [spec], [generator] and [privacy].")]


@app.command()
def spec(
    table: Table,
    out: Annotated[Path | None, typer.Option(help="The file to write; else standard output.")] = None,
) -> None:
    """Draft the specification of TABLE, for a person to correct and confirm."""
    from synth.drafting import draft_spec
    from synth.related_drafting import draft_related
    from synth.tables import read_table

    if out is not None and out.exists():
        raise FileExistsError(f"{out} exists: a draft never replaces what somebody may have corrected")
    text = draft_related(table) if table.is_dir() else draft_spec(read_table(table))
    if out is None:
        typer.echo(text, nl=False)
        return
    out.write_text(text, encoding="utf-8")
    checks = text.count("CHECK") - 1  # the head explains the word
    typer.echo(f"{out}: a draft, not confirmed; {checks} places to CHECK")


@app.command()
def check(spec: Annotated[Path, typer.Argument(help="A specification in TOML.")], table: Table) -> None:
    """Say where TABLE contradicts SPEC, one line each with counts and no cell; exit 1 if it does."""
    from synth.plan import spec_digest
    from synth.related_tables import check_tables, read_tables
    from synth.relations import RelatedSpec, read_any
    from synth.spec import check_table
    from synth.tables import read_table

    read = read_any(spec)
    found = (
        [f"table {name!r}: {each}" for name, each in check_tables(read_tables(table, read), read)]
        if isinstance(read, RelatedSpec)
        else [str(each) for each in check_table(read_table(table), read)]
    )
    for contradiction in found:
        typer.echo(contradiction)
    if found:
        raise typer.Exit(1)
    typer.echo(f"no contradiction{'' if read.confirmed else '; the specification is not confirmed yet'}")
    typer.echo(f"fingerprint {spec_digest(read)}")


@app.command()
def fit(plan: PlanFile, out: Out) -> None:
    """Fit the plan's generator, draw its cohort and write rows and a record; nothing fitted is kept."""
    _synthesise(plan, out, seed=None)


@app.command()
def sample(
    plan: PlanFile,
    out: Out,
    seed: Annotated[int, typer.Option(min=0, help="Decides which rows are drawn; the fit keeps the plan's seed.")],
) -> None:
    """Draw another cohort from the same fit. As nothing fitted is kept, the fit is repeated: not for private plans."""
    from synth.plan import read_plan

    if read_plan(plan).allowance is not None:
        raise ValueError("a private fit cannot be repeated for free: ask `fit` for as many rows as are needed")
    _synthesise(plan, out, seed=seed)


def _synthesise(file: Path, out: Path, *, seed: int | None) -> None:
    from synth.plan import read_plan
    from synth.spec import TableSpec
    from synth.synthesis import synthesise

    plan = read_plan(file)
    if plan.generator.licence:
        typer.echo(f"note: {plan.generator.licence}", err=True)
    statement = synthesise(plan, out, seed=seed)
    typer.echo(
        f"{out}: {plan.rows} {'rows' if isinstance(plan.spec, TableSpec) else 'patients'} by {plan.name}; {statement}"
    )
