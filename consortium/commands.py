"""`wardround sites`: a consortium of hospitals on this machine. A thin edge: parse, call, show."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.commands import STUDY, summary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from consortium.topology import Consortium

__all__ = ["app"]

DEFAULT = Path("docker/sites.toml")

app = typer.Typer(
    help="Bring up a consortium of hospitals on this machine, and run studies in it.",
    no_args_is_help=True,
    add_completion=False,
)

Sites = Annotated[Path, typer.Argument(help="The consortium's description, a TOML file.")]
SitesOption = Annotated[Path, typer.Option("--sites", help="The consortium's description, a TOML file.")]


def _open(sites: Path) -> Consortium:
    from consortium.plan import read_plan
    from consortium.topology import open_consortium

    return open_consortium(read_plan(sites))


@contextmanager
def _telling() -> Iterator[None]:
    """Say in one line what failed, and exit 1: a user's mistake goes on to `wardround`, which exits 2."""
    from consortium.processes import ConsortiumFailed
    from server.submission import LaunchFailed

    try:
        yield
    except (ConsortiumFailed, LaunchFailed) as failure:
        typer.echo(f"wardround: {failure}", err=True)
        raise typer.Exit(1) from None


@app.command()
def up(sites: Sites = DEFAULT) -> None:
    """Bring up coordinator, proxy, hospitals and their databases; what runs already is left alone."""
    with _telling():
        _open(sites).up(typer.echo)


@app.command()
def run(
    study: STUDY = None,
    sites: SitesOption = DEFAULT,
    change: Annotated[
        list[str] | None, typer.Option("--set", "-s", help="One more change, for example privacy.epsilon=3")
    ] = None,
) -> None:
    """Run a study in the consortium and name its report; exit 1 when the run failed, 2 when it was refused."""
    from consortium.submission import run_study
    from study.defaults import read_changes

    with _telling():
        folder = run_study(_open(sites), read_changes(study, change or []))
        typer.echo(f"{summary(folder)}\nreport: {folder / 'report.html'}")


@app.command()
def down(sites: Sites = DEFAULT) -> None:
    """End everything that was started; keys, databases, ledgers and runs stay."""
    with _telling():
        typer.echo(f"{_open(sites).down()} processes ended")


@app.command()
def status(sites: Sites = DEFAULT) -> None:
    """Say what runs and which hospitals are online."""
    with _telling():
        consortium = _open(sites)
        typer.echo(f"network: {consortium.network.explain()}")
        for part, state in consortium.status():
            typer.echo(f"{part}: {state}")
