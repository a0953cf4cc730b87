"""`wardround sites`: a consortium of hospitals on this machine. A thin edge: parse, call, show."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gate.commands import Head, Last, Verify, show_log, verified
from server.commands import SET, STUDY, summary

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


def _open(sites: Path, *, new: bool = False) -> Consortium:
    from consortium.plan import read_plan
    from consortium.topology import open_consortium

    return open_consortium(read_plan(sites), new=new)


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
        _open(sites, new=True).up(typer.echo)


@app.command()
def run(
    study: STUDY = None,
    sites: SitesOption = DEFAULT,
    change: SET = None,
) -> None:
    """Run a study in the consortium and name its report; exit 1 when the run failed, 2 when it was refused."""
    from consortium.submission import run_study
    from study.defaults import read_changes

    with _telling():
        consortium = _open(sites)
        consortium.require_up()
        control, runs = consortium.coordinator.control, consortium.places.runs
        _report(run_study(control, read_changes(study, change or []), runs=runs))


@app.command()
def submit(
    superlink: Annotated[str, typer.Option(help="The SuperLink's Control API, host:port.")],
    root_certificate: Annotated[Path, typer.Option(help="Of the authority that the SuperLink's certificate is from.")],
    runs: Annotated[Path, typer.Option(help="Folder that receives the run's directory, at the SuperLink and here.")],
    home: Annotated[Path, typer.Option(help="Folder for what this coordinator's Flower remembers.")],
    study: STUDY = None,
    change: SET = None,
) -> None:
    """Run a study in a consortium that is up elsewhere, and name its report; for the coordinator's own machine."""
    from consortium.control import Control
    from consortium.submission import run_study
    from study.defaults import read_changes

    with _telling():
        control = Control(superlink, root_certificate.absolute(), home.absolute())
        _report(run_study(control, read_changes(study, change or []), runs=runs.absolute()))


@app.command()
def register(
    keys: Annotated[list[str], typer.Argument(metavar="NAME=FILE...", help="Each hospital's public key.")],
    superlink: Annotated[str, typer.Option(help="The SuperLink's Control API, host:port.")],
    root_certificate: Annotated[Path, typer.Option(help="Of the authority that the SuperLink's certificate is from.")],
    home: Annotated[Path, typer.Option(help="Folder for what this coordinator's Flower remembers.")],
) -> None:
    """Register hospitals' public keys; a hospital's new key takes the place of its old one."""
    from consortium.control import Control

    with _telling():
        control = Control(superlink, root_certificate.absolute(), home.absolute())
        control.configure()
        changed = control.register(dict(_named(word) for word in keys))
        typer.echo(f"registered: {', '.join(changed) or 'nobody new'}")


@app.command()
def certify(
    folder: Annotated[Path, typer.Argument(help="Folder for what is made; what is there and good stays.")],
    proxy_name: Annotated[
        list[str] | None, typer.Option(help="A name or address under which hospitals find the proxy. Repeatable.")
    ] = None,
    hospital: Annotated[
        list[str] | None, typer.Option(help="Also make this hospital's node key and database password. Repeatable.")
    ] = None,
) -> None:
    """Make an authority, the certificates of SuperLink and proxy, and for a trial what hospitals make themselves."""
    from consortium.certificates import make_secrets

    made = make_secrets(folder, proxy_names=proxy_name or ["proxy"], hospitals=hospital or [])
    typer.echo(f"made: {', '.join(made) or 'nothing, all is there and good'}")


def _named(word: str) -> tuple[str, Path]:
    name, equals, path = word.partition("=")
    if not (name and equals and path):
        raise ValueError(f"{word!r} is not NAME=FILE, for example north=north.key.pub")
    return name, Path(path)


def _report(folder: Path) -> None:
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


@app.command()
def log(
    sites: Sites = DEFAULT,
    runs: Annotated[
        Path | None, typer.Option(help="The folder of runs that sites submit was given; else this consortium's.")
    ] = None,
    verify: Verify = False,
    head: Head = None,
    last: Last = 30,
) -> None:
    """Read the coordinator's audit log: who asked what, what the hospitals decided, what came of it."""
    from consortium.audit_log import LOG_FILE, describe_entry

    folder = _open(sites).places.runs if runs is None else runs
    show_log(verified(folder / LOG_FILE, head=head), describe_entry, last=None if verify else last)
