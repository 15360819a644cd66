"""The command ``gossipcontrol top``: every store with its presence and its rejoins, refreshed in place."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import click
from gossipcontrol.cli import table
from gossipcontrol.cli.columns import Columns
from gossipcontrol.cli.complaint import words_of
from gossipcontrol.cli.document import event_line
from gossipcontrol.cli.invocation import calls, json_option
from gossipcontrol.cli.output import say
from gossipcontrol.client.client import Client
from gossipcontrol.client.enumeration import PeerState
from gossipcontrol.client.errors import UnreachableError
from gossipcontrol.client.store import Store
from gossipcontrol.system.printable import printable
from gossipcontrol.system.stop import on_stop
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

AROUND = 4
"""Lines of the screen around the stores."""
SHOWN = (PeerState.ONLINE, PeerState.SUSPECT, PeerState.OFFLINE, PeerState.ASLEEP)
HEADS = ("STORE", "NODES", "ONLINE", "SUSPECT", "OFFLINE", "ASLEEP", "STALEST", "PAIRS", "RUN", "WAIT", "")
"""Nodes attached of all; peers; the age of the stalest live one; pairs unsynced; rejoins that run and wait."""
NARROW_HEADS = ("STORE", "NODE", "ONLN", "SUSP", "OFFL", "ASLP", "STALE", "PAIR", "RUN", "WAIT", "")
WIDE = 80
"""Width of the terminal from which on heads are whole words."""


@click.command()
@click.option(
    "--interval", type=click.FloatRange(0.1, 3600), default=1.0, show_default=True, help="Seconds between refreshes."
)
@click.option("--count", type=click.IntRange(1), help="Exit after so many refreshes.")
@json_option
@calls
async def top(client: Client, interval: float, count: int | None, as_json: bool) -> int:
    """Watch all stores: what is online, stale or being repaired. Ends on q or Ctrl-C."""
    stopped = asyncio.Event()
    on_stop(stopped.set)
    first = [store async for store in client.list_stores()]
    console = Console(markup=False, highlight=False)
    if as_json or not console.is_terminal:
        await _repeat(client, first, _lines(as_json), interval, count, stopped)
        return 0
    with _keys(stopped.set), Live(console=console, screen=True, auto_refresh=False) as live:
        await _repeat(client, first, _screen(live, client.address), interval, count, stopped)
    return 0


Show = Callable[[Sequence[Store], str], None]
"""Shows the stores, and why they could not be refreshed, if so."""


async def _repeat(
    client: Client,
    stores: Sequence[Store],
    show: Show,
    interval: float,
    count: int | None,
    stopped: asyncio.Event,
) -> None:
    """Show the stores and refresh them until stopped; while the service is unreachable, keep trying."""
    complaint = ""
    for refreshes in itertools.count(1):
        show(stores, complaint)
        if refreshes == count:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(interval):
                await stopped.wait()
        if stopped.is_set():
            return
        try:
            stores, complaint = [store async for store in client.list_stores()], ""
        except UnreachableError as error:
            words = await asyncio.to_thread(words_of, client.address, error)
            complaint = f"no service at {client.address}: {words}"


def _lines(as_json: bool) -> Show:
    """One JSON object per refresh, or one line per store."""

    def show(stores: Sequence[Store], complaint: str) -> None:
        rows = [_row(store) for store in stores]
        if as_json:
            listed = [{"store_id": row.pop("store"), **row} for row in rows]
            click.echo(event_line("look", {"error": complaint, "stores": listed}))
            return
        at = time.strftime("%H:%M:%S")
        for row in rows:
            say(f"{at}  " + " ".join(f"{name}={_word(value)}" for name, value in row.items()))
        if complaint or not rows:
            say(f"{at}  {complaint or 'no stores yet: no agent has attached'}")

    return show


def _screen(live: Live, address: str) -> Show:
    """The whole screen, the stores in trouble first."""

    def show(stores: Sequence[Store], complaint: str) -> None:
        rows = sorted((_row(store) for store in stores), key=_trouble)
        is_wide = live.console.width >= WIDE
        lines = Columns(*(HEADS if is_wide else NARROW_HEADS))
        listed = rows[: max(1, live.console.size.height - AROUND)]
        for row in listed:
            lines.add_row(*_cells(row, "partitioned" if is_wide else "split"))
        more = f"and {len(rows) - len(listed)} more" if len(rows) > len(listed) else ""
        head = Text(f"{time.strftime('%H:%M:%S')}  {len(rows)} stores  (q ends)  {printable(address)}", "bold")
        for line in (head, trouble := Text(printable(complaint), "red")):
            line.no_wrap, line.overflow = True, "ellipsis"
        live.update(Group(head, trouble, lines.render(live.console.width), Text(more)), refresh=True)

    return show


def _row(store: Store) -> dict[str, Any]:
    # A newer service may count peers in states that this version has no name for.
    others = {str(state): count for state, count in store.peer_counts.items() if not state.recognized}
    return {
        "store": store.store_id,
        "nodes": store.node_count,
        "attached": store.attached_count,
        **{str(state): store.peer_counts.get(state, 0) for state in PeerState},
        **others,
        "stalest_seconds": store.stalest_age,
        "pairs_unsynced": store.pairs_unsynced,
        "rejoins_running": store.rejoins_running,
        "rejoins_waiting": store.rejoins_waiting,
        "partitioned": store.partitioned,
    }


def _word(value: object) -> str:
    """One word of a line, whatever an id is made of."""
    text = "-" if value is None else str(value)
    return text if text.isprintable() and " " not in text else json.dumps(text)


def _trouble(row: dict[str, Any]) -> tuple[Any, ...]:
    return not row["partitioned"], -row["suspect"] - row["offline"], row["store"]


def _cells(row: dict[str, Any], mark: str) -> list[str | Text]:
    stalest = row["stalest_seconds"]
    split = row["partitioned"]
    return [
        Text(table.short(row["store"]), "bold red" if split else ""),
        f"{row['attached']}/{row['nodes']}",
        *(_painted(row[str(state)], state) for state in SHOWN),
        "-" if stalest is None else f"{stalest:.1f} s",
        str(row["pairs_unsynced"]),
        str(row["rejoins_running"]),
        str(row["rejoins_waiting"]),
        Text(mark if split else "", "bold red"),
    ]


def _painted(count: int, state: PeerState) -> Text:
    return Text(str(count), table.STATE_COLOURS[state] if count else "")


KEY_INTERVAL = 0.1
"""Seconds between two looks for a key, where the console cannot be waited for."""

if sys.platform == "win32":
    import msvcrt

    @contextmanager
    def _keys(quit: Callable[[], None]) -> Generator[None]:
        """Look for keys meanwhile."""

        async def look() -> None:
            while True:
                while msvcrt.kbhit():
                    if msvcrt.getwch() in "qQ":
                        quit()
                await asyncio.sleep(KEY_INTERVAL)

        looking = asyncio.create_task(look())
        try:
            yield
        finally:
            looking.cancel()

else:
    import select
    import termios
    import tty

    @contextmanager
    def _keys(quit: Callable[[], None]) -> Generator[None]:
        """Read keys one by one meanwhile; restore the terminal afterwards."""
        if not sys.stdin.isatty():
            yield
            return
        number = sys.stdin.fileno()
        before = termios.tcgetattr(number)
        loop = asyncio.get_running_loop()

        hang_up = select.poll()
        hang_up.register(number, 0)

        def read() -> None:
            if hang_up.poll(0):
                loop.remove_reader(number)
            elif set(os.read(number, 64)) & set(b"qQ\x03\x04"):
                quit()

        tty.setcbreak(number)
        # Ctrl-C discards what was typed before it: a read that waits for a key would then block the exit.
        mode = termios.tcgetattr(number)
        mode[6][termios.VMIN] = 0
        termios.tcsetattr(number, termios.TCSADRAIN, mode)
        loop.add_reader(number, read)
        try:
            yield
        finally:
            loop.remove_reader(number)
            termios.tcsetattr(number, termios.TCSADRAIN, before)
