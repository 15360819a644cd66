"""Which release of grpcio is fastest: bare echo servers on several releases, in turns, with 32 calls in flight.

Each release is installed from the package registry into a virtual environment of its own.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import venv
from contextlib import AsyncExitStack
from pathlib import Path

from bench import h2load
from bench.echo import METHOD
from bench.echo_process import echo_server
from bench.report import Figure, arguments, show
from tests.kit.ports import free_ports

RELEASES = ("1.67.1", "1.75.1", "1.76.0", "1.78.2", "1.80.0", "1.85.3")
MESSAGE = bytes(98)


async def measure(releases: tuple[str, ...], turns: int, calls: int) -> dict[str, Figure]:
    """The median rate of each release."""
    rates: dict[str, list[float]] = {release: [] for release in releases}
    with tempfile.TemporaryDirectory(prefix="gossipcontrol-") as directory:
        pythons = [await _install(Path(directory), release) for release in releases]
        ports = free_ports(len(releases))
        async with AsyncExitStack() as stack:
            made = [echo_server(port, len(MESSAGE), python=python) for port, python in zip(ports, pythons, strict=True)]
            servers = [await stack.enter_async_context(server) for server in made]
            await asyncio.gather(*(server.wait_for("serving", 30) for server in servers))
            for turn in range(turns + 1):
                for release, port, server in zip(releases, ports, servers, strict=True):
                    load = await asyncio.to_thread(
                        h2load.run, port, METHOD, MESSAGE, calls=calls, in_flight=32, server_pid=server.pid
                    )
                    rates[release] += [load.rate] if turn else []  # the first turn warms up
    return {f"grpcio {release}": Figure(statistics.median(seen), "calls/s") for release, seen in rates.items()}


async def _install(directory: Path, release: str) -> str:
    place = directory / release
    await asyncio.to_thread(venv.create, place, with_pip=True)
    python = str(place / "bin" / "python")
    command = (python, "-m", "pip", "install", "--quiet", "--only-binary=:all:", f"grpcio=={release}", "uvloop")
    process = await asyncio.create_subprocess_exec(*command)
    if await process.wait():
        raise RuntimeError(f"grpcio {release} cannot be installed here: pip's output says why")
    return python


def main() -> None:
    chosen = arguments(__doc__).parse_args()
    if missing := h2load.what_is_missing():
        sys.exit(missing)
    turns, calls = (1, 1_000) if chosen.quick else (7, 10_000)
    releases = RELEASES[1:3] if chosen.quick else RELEASES
    show("grpcio_version", asyncio.run(measure(releases, turns, calls)), chosen.as_json)


if __name__ == "__main__":
    main()
