"""`wardround site`: a hospital's node, from its first folder to its audit log."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path  # Typer resolves annotations at run time
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from clinical.chain import Chain
    from gate.bundle import Bundle
    from gate.site import Site

app = typer.Typer(
    help="Run a hospital's node behind a gate of its own: approvals, egress policy, audit log.",
    no_args_is_help=True,
    add_completion=False,
)

Folder = Annotated[Path, typer.Argument(metavar="SITE", help="The site's folder.")]
By = Annotated[str, typer.Option(help="Who answers for it.")]
Key = Annotated[
    Path | None, typer.Option(help="Sign with this Ed25519 key, as wardround audit keygen makes one (no passphrase).")
]

Verify = Annotated[bool, typer.Option("--verify", help="Check every line instead; exit 1 if one does not fit.")]
Head = Annotated[str | None, typer.Option(help="With --verify: a head noted earlier, to find lines cut off.")]
Last = Annotated[int, typer.Option(help="Show so many entries; 0 shows all.", min=0)]


@app.command()
def init(
    site: Folder,
    name: Annotated[str, typer.Option(help="How the site is called.")],
    superlink: Annotated[str, typer.Option(help="The coordinator, host:port.")],
    root_certificate: Annotated[
        Path | None,
        typer.Option(help="Certificate the coordinator's descends from; only one on this machine needs none."),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="The hospital's folder, as wardround data writes it.")] = None,
    node_key: Annotated[
        Path | None, typer.Option("--node-key", help="Use this node key where it lies, and make none.")
    ] = None,
    ledger: Annotated[
        str, typer.Option(help="Keep the privacy ledger in this file or PostgreSQL URL, and not in the folder.")
    ] = "",
) -> None:
    """Make a site: node key, policy with its defaults, ledger, an empty list of approvals. Refuses a folder in use."""
    from gate.onboarding import Elsewhere, found_site

    kept = Elsewhere(node_key, ledger)
    made = found_site(
        site, name=name, superlink=superlink, root_certificate=root_certificate, data=data, elsewhere=kept
    )
    typer.echo(f"site {made.name} in {made.folder}")
    typer.echo(f"read and edit {made.path(made.policy)}: it decides what this hospital allows")
    typer.echo(f"the public part of {made.path(made.key)} is for the coordinator, who registers it; the key stays here")
    typer.echo(f"then: wardround site check {site}")


@app.command()
def run(site: Folder) -> None:
    """Run the site's gate until it is ended (SIGTERM or Ctrl-C)."""
    from gate.executor import NodeEnded, run_gate
    from gate.site import read_site

    try:
        run_gate(read_site(site))
    except NodeEnded as ended:
        typer.echo(f"wardround: {ended}", err=True)
        raise typer.Exit(1) from None


@app.command()
def approve(
    fab: Annotated[Path, typer.Argument(help="A bundle (.fab), or an application's folder, built as flwr run would.")],
    site: Annotated[Path, typer.Option(help="The site's folder.")],
    by: By,
    diff: Annotated[bool, typer.Option("--diff", help="Show every changed line.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Ask no question: for scripts that have looked.")] = False,
    key: Key = None,
) -> None:
    """Show what changed since the last approved application, and let this one run here."""
    from gate.approvals import approve_at, read_approvals
    from gate.bundle import load_bundle
    from gate.site import read_site
    from gate.views import describe_changes

    place = read_site(site)
    content, bundle = load_bundle(fab)
    signing = _signing(key)
    known = read_approvals(place.approvals, approvers=place.approvers).get(bundle.digest)
    if known is not None and known.stands:
        typer.echo(f"{bundle.name} {bundle.version} ({bundle.digest}) is approved already, by {known.by}, {known.on}")
        return
    typer.echo(describe_changes(*_before(place), bundle, whole=diff))
    if not yes and not typer.confirm(f"Let {bundle.name} {bundle.version} run at {place.name}?"):
        typer.echo("nothing was approved")
        raise typer.Exit(1)
    approve_at(place, content, bundle, by=by, at=datetime.now(UTC), key=signing)
    typer.echo(f"approved: {bundle.digest}")


@app.command()
def approvals(
    site: Folder,
    revoke: Annotated[str | None, typer.Option(help="Hash of an application that may not run any more.")] = None,
    by: Annotated[str | None, typer.Option(help="Who revokes.")] = None,
    key: Key = None,
) -> None:
    """List what may run here and what might once, by whom; or revoke an approval."""
    from gate.approvals import read_approvals
    from gate.approvals import revoke as end
    from gate.site import read_site
    from gate.views import describe_approvals

    place = read_site(site)
    if revoke is not None:
        if by is None:
            raise ValueError("--revoke needs --by: who answers for it")
        ended = end(place.approvals, revoke, by=by, at=datetime.now(UTC), key=_signing(key))
        typer.echo(f"revoked: {ended.digest}")
        return
    typer.echo(describe_approvals(read_approvals(place.approvals, approvers=place.approvers).values()))


@app.command()
def log(
    site: Folder,
    verify: Verify = False,
    head: Head = None,
    last: Last = 30,
) -> None:
    """Read the site's audit log: who asked what, what was decided, what left."""
    from gate.site import read_site
    from gate.views import describe_entry

    chain = verified(read_site(site).journal, head=head)
    show_log(chain, describe_entry, last=None if verify else last)


def verified(path: Path, *, head: str | None) -> Chain:
    """Read a chained log; one that does not verify ends the command with exit code 1 and the line.

    Args:
        path: the log.
        head: one noted earlier, which must still be in it.
    """
    from clinical.chain import ChainBroken, read_chain

    try:
        return read_chain(path, containing=head)
    except ChainBroken as broken:
        typer.echo(f"wardround: {broken}", err=True)
        raise typer.Exit(1) from None


def show_log(chain: Chain, describe: Callable[[Mapping[str, Any]], str], *, last: int | None) -> None:
    """Show a chained log.

    Args:
        chain: the log as it was read.
        describe: puts an entry on a line.
        last: how many entries are shown, 0 for all; None shows none and says that they verify.
    """
    if chain.torn:
        typer.echo(f"line {chain.count + 1} was cut short ({chain.torn} bytes): its writer was ended while it wrote")
    if last is None:
        typer.echo(f"{chain.count} entries verify; head {chain.head}")
        return
    for entry in chain.entries[-last:]:
        typer.echo(describe(entry))


@app.command()
def check(site: Folder) -> None:
    """Check everything a run will need, each with a remedy; exit 1 if something is missing."""
    from gate.checks import check_site
    from gate.site import read_site

    found = check_site(read_site(site))
    for each in found:
        typer.echo(f"{'ok    ' if each.passed else 'FAILED'}  {each.name}: {each.finding}")
        if each.remedy:
            typer.echo(f"        {each.remedy}")
    raise typer.Exit(0 if all(each.passed for each in found) else 1)


@app.command()
def status(
    site: Folder,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Say nothing and exit 1 where no gate runs: for whoever watches it.")
    ] = False,
) -> None:
    """Say whether the gate runs, what it last did, what the patients have paid, and what may run."""
    from gate.site import gate_process, read_site
    from gate.views import describe_status

    place = read_site(site)
    if quiet:
        raise typer.Exit(1 if gate_process(place) is None else 0)
    typer.echo(describe_status(place))


def _before(site: Site) -> tuple[str, Bundle | None]:
    """Return who approved the last application, and its bundle where it was kept unchanged."""
    from gate.approvals import last_approved
    from gate.bundle import digest_of, read_bundle

    last = last_approved(site.approvals, approvers=site.approvers)
    if last is None:
        return "", None
    told = f"{last.name} {last.version} ({last.digest[:12]}), approved by {last.by}, {last.on}"
    try:
        content = (site.approved / f"{last.digest}.fab").read_bytes()
    except FileNotFoundError:
        return told, None
    return told, read_bundle(content) if digest_of(content) == last.digest else None


def _signing(key: Path | None) -> Ed25519PrivateKey | None:
    from privacy.signatures import read_private_key

    return None if key is None else read_private_key(key)
