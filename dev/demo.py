"""See gossip rot and recover: one of three real nodes is cut off, first without GossipControl and then with it.

Where the node in Rust is installed (docs/iroh-rust.md), the same is shown with it, on the current iroh-gossip.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from gossipcontrol.cli.iroh_program import find_program
from rich.console import Console
from rich.table import Table

from tests.kit.network import what_is_missing
from tests.kit.process import PYTHON_NODE
from tests.kit.recovery import CUT, Round, cut_off, restore
from tests.kit.swarm import Swarm

WATCHED_FOR = 30.0
"""Seconds for which the bare node may recover by itself."""
TICK = 5.0
"""Seconds between two lines of progress."""

console = Console()


async def play(control: bool, program: Sequence[str]) -> Round:
    """One act: start a swarm of this node, cut one off, restore its link, and tell what happens."""
    with tempfile.TemporaryDirectory(prefix="gossipcontrol-") as directory:
        engine = "iroh-gossip 0.35, in Python" if program == PYTHON_NODE else "iroh-gossip 0.101, in Rust"
        console.rule(f"{'with' if control else 'without'} GossipControl: {engine}")
        _tell("starting three iroh-gossip nodes, each in its own network namespace")
        async with Swarm(Path(directory), control=control, program=program) as swarm:
            _tell("all three are neighbours; each sends a message every half second")
            if control:
                _tell("the first host runs a watcher; its node's agent is attached")
            async with _progress("the link of the first host is down", CUT):
                await cut_off(swarm)
            _tell("its peers have dropped it; the link comes back NOW")
            async with _progress("waiting for a neighbour and a message", WATCHED_FOR):
                seen = await restore(swarm, WATCHED_FOR)
            for line in _story(seen):
                _tell(line)
            return seen


def _story(seen: Round) -> list[str]:
    steps = (
        ("the watcher noticed the change", seen.noticed),
        ("the service started a rejoin", seen.decided),
        ("the agent received the command", seen.commanded),
        ("a neighbour is up", seen.neighbour),
        ("a message of another node arrived", seen.delivered),
    )
    happened = [f"{seconds * 1000:7.1f} ms  {what}" for what, seconds in steps if seconds is not None]
    return happened or [f"nothing within {WATCHED_FOR:g} s: the node runs, hears nobody, and nobody notices"]


@asynccontextmanager
async def _progress(what: str, seconds: float) -> AsyncGenerator[None]:
    async def tick() -> None:
        started_at = time.monotonic()
        while True:
            _tell(f"{what}: {time.monotonic() - started_at:3.0f} of at most {seconds:.0f} s")
            await asyncio.sleep(TICK)

    task = asyncio.create_task(tick())
    try:
        yield
    finally:
        task.cancel()


def _tell(text: str) -> None:
    console.print(f"[dim]{time.strftime('%H:%M:%S')}[/]  {text}", highlight=False)


def _close(without: Round, with_it: Round) -> None:
    console.rule("both")
    table = Table("", "without", "with", box=None, pad_edge=False, header_style="bold")
    for what, name in (("neighbour again after", "neighbour"), ("first message after", "delivered")):
        table.add_row(what, _cell(getattr(without, name)), _cell(getattr(with_it, name)))
    console.print(table)


def _cell(seconds: float | None) -> str:
    return f"not within {WATCHED_FOR:g} s" if seconds is None else f"{seconds * 1000:.0f} ms"


async def _play_both(program: Sequence[str]) -> bool:
    without = await play(control=False, program=program)
    with_it = await play(control=True, program=program)
    _close(without, with_it)
    return with_it.delivered is not None


async def _play_all() -> int:
    rust = find_program()
    programs = [PYTHON_NODE, *([(rust,)] if rust else [])]
    return 0 if all([await _play_both(program) for program in programs]) else 1


def main() -> None:
    """Play all acts; exits with what this machine lacks for them."""
    if missing := what_is_missing():
        sys.exit(f"the demo needs hosts that it can cut off. {missing}")
    sys.exit(asyncio.run(_play_all()))


if __name__ == "__main__":
    main()
