"""The option ``--restart-command`` of every command that runs an agent."""

from __future__ import annotations

import shutil

import click
from gossipcontrol.agent.restart_command import split_command


def _split(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    """The program and its arguments; raises BadParameter."""
    del context, parameter
    if value is None:
        return ()
    try:
        command = split_command(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} cannot be split into words: {error}") from None
    if not command:
        raise click.BadParameter("must not be empty")
    if shutil.which(command[0]) is None:
        raise click.BadParameter(f"there is no program {command[0]!r}")
    return command


restart_option = click.option(
    "--restart-command",
    metavar="COMMAND",
    callback=_split,
    help="Restarts the node where the service advises it; run without a shell, at most once in 10 minutes.",
)
