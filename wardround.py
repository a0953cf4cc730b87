"""Wardround's front door: one command table, each room's commands mounted when they are asked for.

A user's mistake ends in one line on standard error and exit code 2; anything else that escapes is a bug and shows as
one. Set ``WARDROUND_DEBUG=1`` to see the traceback behind a mistake as well.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

import click  # noqa: TC002  # Typer resolves annotations at run time
import typer
from typer.core import TyperGroup

# name → the module and the attribute: a Typer of several commands, or the function of one
COMMANDS = {
    "data": ("clinical.commands", "app"),
    "run": ("server.commands", "run"),
    "compare": ("server.commands", "compare"),
    "report": ("server.commands", "report"),
    "sites": ("consortium.commands", "app"),
    "ledger": ("privacy.commands", "app"),
    "audit": ("clients.audit.commands", "app"),
    "site": ("gate.commands", "app"),
    "synth": ("synth.commands", "app"),
}
# commands of a group that need more than the group's own room may import
ADDED = {
    "data": {"doctor": ("clients.commands", "doctor")},
    "ledger": {"plan": ("clients.commands", "plan")},
    "audit": {
        "report": ("reports.commands", "report"),
        "keygen": ("reports.commands", "keygen"),
        "sign": ("reports.commands", "sign"),
        "verify": ("reports.commands", "verify"),
    },
    "synth": {
        "score": ("gate.cohort_commands", "score"),
        "release": ("gate.cohort_commands", "release"),
        "verify": ("gate.cohort_commands", "verify"),
    },
}


class Rooms(TyperGroup):
    """A group that imports a room when one of its commands is looked at."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in the order of the table."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Mount one command."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        mounted = _mount(cmd_name, *COMMANDS[cmd_name])
        if isinstance(mounted, TyperGroup):
            for name, place in ADDED.get(cmd_name, {}).items():
                mounted.add_command(_mount(name, *place))
        return mounted


def _mount(name: str, module: str, attribute: str) -> click.Command:
    """Import a Typer, or the function of one command, and make it a command of this name."""
    command = getattr(import_module(module), attribute)
    if not isinstance(command, typer.Typer):
        alone = typer.Typer(add_completion=False)
        alone.command()(command)
        command = alone
    mounted = typer.main.get_command(command)
    mounted.name = name
    return mounted


app = typer.Typer(cls=Rooms, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def wardround() -> None:
    """Train across hospitals that keep their records, with differential privacy for every patient."""


def main() -> None:
    """Run the command line: exit 2 with one line for a mistake, 0 for success."""
    try:
        app()
    except (ValueError, OSError) as mistake:
        if os.environ.get("WARDROUND_DEBUG"):
            raise
        line = " ".join(str(mistake).split()) or type(mistake).__name__
        print(f"wardround: {line}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
