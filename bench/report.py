"""The flags and the output of every measurement: a table for people, one JSON object for programs."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
from collections.abc import Coroutine, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import grpc
from gossipcontrol.system.stop import on_stop
from rich.console import Console
from rich.table import Table

from tests.kit.network import what_is_missing

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure; ``met`` is None where no target was set."""

    value: float | None
    """None: it did not happen while it was watched."""
    unit: str
    target: str | None = None
    met: bool | None = None


def at_least(value: float, unit: str, least: float) -> Figure:
    """A figure that must not be lower."""
    return Figure(value, unit, f"at least {least:g}", value >= least)


def at_most(value: float | None, unit: str, most: float) -> Figure:
    """A figure that must not be higher; None misses the target."""
    return Figure(value, unit, f"at most {most:g}", value is not None and value <= most)


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The flags that every measurement has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", dest="as_json", help="one JSON object instead of a table")
    parser.add_argument("--quick", action="store_true", help="a short run; its figures are not reliable")
    return parser


def run(measurement: Coroutine[Any, Any, T]) -> T:
    """Run a measurement; at a signal to end it stops its processes, removes its hosts, and exits."""
    try:
        return asyncio.run(_until_stopped(measurement))
    except asyncio.CancelledError:
        sys.exit("stopped by a signal")


async def _until_stopped(measurement: Coroutine[Any, Any, T]) -> T:
    task = asyncio.create_task(measurement)

    def stop() -> None:
        if not task.cancelling():  # a second signal must not interrupt the tidying
            task.cancel()

    on_stop(stop)
    return await task


def rounds_on_hosts(description: str | None, default: int) -> argparse.Namespace:
    """The flags of a measurement with hosts and ``--rounds``; exits with what this machine lacks to make hosts."""
    parser = arguments(description)
    parser.add_argument("--rounds", type=int, default=default, help=f"rounds of each kind ({default})")
    chosen = parser.parse_args()
    if missing := what_is_missing():
        sys.exit(missing)
    return chosen


def show(name: str, figures: Mapping[str, Figure], as_json: bool) -> None:
    """Print the figures of one measurement."""
    if as_json:
        print(json.dumps({"bench": name, "machine": machine(), "figures": {k: asdict(v) for k, v in figures.items()}}))
        return
    table = Table("FIGURE", "VALUE", "UNIT", "TARGET", "", box=None, pad_edge=False, header_style="bold")
    for label, figure in figures.items():
        met = {True: "[green]met[/]", False: "[red]missed[/]", None: ""}[figure.met]
        table.add_row(label, _number(figure.value), figure.unit, figure.target or "", met)
    Console(width=None if Console().is_terminal else 140).print(table)


def _number(value: float | None) -> str:
    if value is None:
        return "never"
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def machine() -> dict[str, str | int | None]:
    """The machine of the figures."""
    return {
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "grpcio": grpc.__version__,
    }
