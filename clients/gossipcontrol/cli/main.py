"""The command ``gossipcontrol``. Exit codes: 0 done, 1 failed, 2 usage, 3 service unreachable."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click
from gossipcontrol.cli.extra import missing_package
from gossipcontrol.cli.output import guard_logging
from gossipcontrol.system.printable import printable
from gossipcontrol.system.quiet import quiet_grpc
from gossipcontrol.system.stream import write_utf8

COMMANDS = {
    "cancel": ("cancel_command", "End a rejoin that has not ended."),
    "doctor": ("doctor_command", "Find what is wrong with the service and its fleet, and say how to cure it."),
    "explain": ("explain_command", "Explain what would happen to a trigger now, or why past ones were decided so."),
    "forget": ("forget_command", "Forget a node without an agent, or a store, and all that is parked for it."),
    "knowledge": ("knowledge_command", "Show what each peer of a store provably holds, and how far behind it is."),
    "members": ("members_command", "Add or remove members of a store: peers that must hold every intention."),
    "peers": ("peers_command", "Show who is online, suspected, offline or asleep in a store."),
    "rejoin": ("rejoin_command", "Have a node rejoin these stores, or all it has."),
    "rejoins": ("rejoins_command", "List rejoins, newest first: what was decided, why, and how they ended."),
    "replicas": (
        "replicas_command",
        "List the replicas of the service: who owns the state, and how far behind others are.",
    ),
    "report": ("report_command", "Report what happened to a host, for scripts and hooks."),
    "simulate": ("simulate_command", "Try configurations on a scenario, or on what the service recorded."),
    "status": ("status_command", "Say whether the service serves, and what it knows."),
    "stores": ("stores_command", "List the stores and their nodes."),
    "top": ("top_command", "Watch all stores: what is online, stale or being repaired."),
    "watch": ("watch_command", "Watch this host's network and power, and report changes."),
}
"""The module of each command, which is imported when the command is called, and its line in the list of commands."""
AGENTS = {
    "iroh": ("iroh_command", "Run one real iroh-gossip node beside the service."),
    "lattice": ("lattice_command", "Run an agent beside a Lattice daemon."),
    "serf": ("serf_command", "Run an agent beside the Serf agent of this host."),
}
EXTRAS = {"serf": "serf"}
"""The extra that a command needs, where it is not the reference node's."""


class LateGroup(click.Group):
    """Imports a command only when it is called, and says which extra is missing."""

    def __init__(self, *args: Any, late: Mapping[str, tuple[str, str]], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._late = late

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the list."""
        return sorted([*super().list_commands(ctx), *self._late])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command; when a package that it needs is missing, one that says so, and whose help works."""
        if cmd_name not in self._late:
            return super().get_command(ctx, cmd_name)
        module, line = self._late[cmd_name]
        quiet_grpc()
        try:
            command: click.Command = getattr(import_module(f"gossipcontrol.cli.{module}"), cmd_name)
        except ModuleNotFoundError as error:
            return _unavailable(cmd_name, line, missing_package(error, EXTRAS.get(cmd_name, "iroh")))
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what click says of a wrong word names it in readable characters."""
        try:
            return super().invoke(ctx)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            raise click.UsageError(printable(error.format_message()), error.ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        rows: list[tuple[str, str]] = []
        for name in self.list_commands(ctx):
            own = self.commands.get(name)
            rows.append((name, own.get_short_help_str(limit=100) if own else self._late[name][1]))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _unavailable(name: str, line: str, need: str) -> click.Command:
    """A command that cannot run; raises UsageError when it is run."""

    def fail() -> None:
        raise click.UsageError(need)

    anything = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command(name, callback=fail, help=f"{line}\n\n{need}", context_settings=anything)


@click.group(cls=LateGroup, late=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gossipcontrol")
def main() -> None:
    """Keep peer-to-peer gossip alive: query the service, report to it, or run a watcher or an agent.

    The service is found through --address, GOSSIPCONTROL_ADDRESS, its Unix socket, or 127.0.0.1:7420. Replicas are
    listed with commas, as in hub1:7443,hub2:7443; the one that serves is found.

    Exit codes: 0 done, 1 failed, 2 usage, 3 service unreachable.
    """
    write_utf8()
    guard_logging()


@main.group(cls=LateGroup, late=AGENTS)
def agent() -> None:
    """Run an agent beside a node."""
