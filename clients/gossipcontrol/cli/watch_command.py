"""The command ``gossipcontrol watch``: this host's watcher in the foreground."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
from gossipcontrol.cli.address_help import ADDRESS_HELP
from gossipcontrol.cli.complaint import words_of
from gossipcontrol.cli.output import say_event
from gossipcontrol.cli.watch_recording import FILE, recorder_into, show_replay, show_self_test
from gossipcontrol.client.address import check_addresses, default_address
from gossipcontrol.client.client import Client
from gossipcontrol.client.errors import AddressError, ClientError
from gossipcontrol.client.race import run_until_first
from gossipcontrol.system.stop import on_stop
from gossipcontrol.watch.change import Change
from gossipcontrol.watch.fingerprint import Fingerprint
from gossipcontrol.watch.host import boot_id
from gossipcontrol.watch.host import host_id as own_host_id
from gossipcontrol.watch.reporter import Delivery, Reporter
from gossipcontrol.watch.scope import Filter
from gossipcontrol.watch.watcher import Watcher, make_watcher

LONGEST_QUIET = 60.0
ID_BYTES, MOST_NODES = 128, 128
"""What the service accepts."""


@click.command()
@click.option("--address", metavar="ADDRESS", help=ADDRESS_HELP)
@click.option("--host-id", default="", help="Name of this host; default: derived from its machine id.")
@click.option("--node", "nodes", multiple=True, help="Report for these nodes instead of the host; repeatable.")
@click.option("--include", multiple=True, help="Interfaces to watch that are ignored by default; a pattern.")
@click.option("--ignore", multiple=True, help="Further interfaces to ignore; a pattern.")
@click.option("--quiet-time", default=0.25, show_default=True, help="Seconds without change before churn is reported.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.option("--record", type=FILE, metavar="FILE", help="Write all that is seen into a new file; for its owner.")
@click.option("--replay", "recorded", type=FILE, metavar="FILE", help="Show the reports of a recording; no more.")
@click.option("--self-test", "is_test", is_flag=True, help="Show what of the watcher works on this host; no more.")
def watch(
    address: str | None,
    host_id: str,
    nodes: tuple[str, ...],
    include: tuple[str, ...],
    ignore: tuple[str, ...],
    quiet_time: float,
    as_json: bool,
    record: Path | None,
    recorded: Path | None,
    is_test: bool,
) -> None:
    """Watch this host's network and power, and report changes until SIGTERM or SIGINT."""
    _check_ids((host_id,) if host_id else (), "--host-id")
    _check_ids(nodes, "--node")
    if not 0 <= quiet_time <= LONGEST_QUIET:
        raise click.BadParameter(f"must be from 0 to {LONGEST_QUIET} seconds", param_hint="--quiet-time")
    chosen = Filter.default(include=include, ignore=ignore)
    if is_test:
        raise SystemExit(asyncio.run(show_self_test(chosen, as_json=as_json)))
    if recorded is not None:
        show_replay(recorded, chosen, quiet_time, as_json=as_json)
        return
    try:
        address = check_addresses(address) if address else default_address()
    except AddressError as error:
        raise click.UsageError(str(error)) from error
    with recorder_into(record) as recorder:
        watcher = make_watcher(chosen, quiet=quiet_time, recorder=recorder)
        asyncio.run(_Run(watcher, address, host_id or own_host_id(), nodes, as_json).run())


def _check_ids(ids: tuple[str, ...], flag: str) -> None:
    """Raise BadParameter for ids that the service would refuse with every report."""
    if len(ids) > MOST_NODES:
        raise click.BadParameter(f"at most {MOST_NODES}", param_hint=flag)
    if not all(0 < len(one.encode(errors="replace")) <= ID_BYTES for one in ids):
        raise click.BadParameter(f"must be from 1 to {ID_BYTES} bytes long", param_hint=flag)
    if len(set(ids)) != len(ids):
        raise click.BadParameter("must name each once", param_hint=flag)


class _Run:
    """The watcher, its reporter and their output."""

    def __init__(self, watcher: Watcher, address: str, host_id: str, nodes: tuple[str, ...], as_json: bool) -> None:
        self._watcher = watcher
        self._address = address
        self._host_id = host_id
        self._nodes = nodes
        self._as_json = as_json
        self._failing = False
        self._looking: asyncio.Task[None] | None = None
        """Looks at why reports fail."""
        self._moving = False
        """Whether another server is looked for."""

    async def run(self) -> None:
        stopped = asyncio.Event()
        on_stop(stopped.set)
        async with Client(self._address, timeout=2.0, on_move=self._moved) as client:
            reporter = Reporter(
                client,
                host_id=self._host_id,
                boot_id=boot_id(),
                node_ids=self._nodes,
                on_delivery=self._delivered,
                on_failure=self._failed,
                on_refusal=self._refused,
            )
            await run_until_first(self._follow(reporter), reporter.run(), stopped.wait())

    async def _follow(self, reporter: Reporter) -> None:
        async for change in self._watcher.changes(on_start=self._started, on_lost=self._lost):
            reporter.report(change)
            self._changed(change)

    def _started(self, source: str, first: Fingerprint) -> None:
        subject = ", ".join(f"node {node}" for node in self._nodes) or f"host {self._host_id}"
        scope = first.scope
        if not self._as_json:
            self._say("", scope.summary())
            self._say("", f"watching {subject} through {source}")
            self._say("", f"the network is {first.describe()}")
        self._say(
            "watching", f"reporting to {self._address}", host=self._host_id, source=source, network=first.describe(),
            watched=dict(scope.watched), ignored=dict(scope.ignored),
        )  # fmt: skip

    def _lost(self) -> None:
        self._say("lost", "network lost; waiting for it to come back")

    def _changed(self, change: Change) -> None:
        text = f"{change.kind.label}: {change.detail}"
        self._say("change", text, kind=change.kind.name.lower(), generation=change.generation, detail=change.detail)

    def _delivered(self, delivery: Delivery) -> None:
        self._failing = self._moving = False
        kinds = [str(decision.kind) for decision in delivery.result.decisions]
        counted = (
            ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
            or "no node of this host has a store to rejoin"
        )
        text = f"delivered {delivery.change.kind.label} after {_duration(delivery.seconds)}: {counted}"
        self._say("delivered", text, generation=delivery.change.generation, decisions=kinds, seconds=delivery.seconds)

    def _moved(self, old: str, new: str) -> None:
        """Say it once until a report is delivered: while no replica serves, each is asked again and again."""
        if not self._moving:
            self._say("moved", f"{old} does not serve; reconnecting to {new}", left=old, server=new)
        self._moving = True

    def _failed(self, error: ClientError) -> None:
        if not self._failing:
            self._failing = True
            self._looking = asyncio.create_task(self._say_why(error))

    async def _say_why(self, error: ClientError) -> None:
        why = await asyncio.to_thread(words_of, self._address, error)
        if self._failing:
            self._say("undelivered", f"service unreachable, will retry: {why}", error=why)

    def _refused(self, change: Change, error: ClientError) -> None:
        text = f"the service refused the report of a {change.kind.label}; it is dropped: {error}"
        self._say("refused", text, generation=change.generation, error=str(error))

    def _say(self, what: str, text: str, **fields: object) -> None:
        say_event(what, text, fields, as_json=self._as_json)


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"
