"""Which release of grpcio is safe and fastest: bare echo servers on several releases, each in its own environment.

Safe: 7 MB of HTTP/2 PINGs over one connection, whose answers nobody reads, must not cost 100 MB. Fast: calls per second
in turns, with 32 in flight. Each release is installed from the package registry.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import venv
from contextlib import AsyncExitStack
from pathlib import Path

import grpc

from bench import h2load
from bench.echo import METHOD
from bench.echo_process import echo_server
from bench.ping_flood import flood
from bench.report import Figure, arguments, at_most, show
from tests.kit.ports import free_ports

RELEASES = ("1.75.1", "1.80.1", "1.82.3", "1.83.2", "1.84.2", "1.85.3")
MESSAGE = bytes(98)
GATE = 100
"""MB that a flood of PINGs may cost."""


async def measure(releases: tuple[str, ...], turns: int, calls: int) -> dict[str, Figure]:
    """The median rate of each release, then what the PINGs cost it."""
    figures: dict[str, Figure] = {}
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
            for release, port, server in zip(releases, ports, servers, strict=True):
                used = h2load.process_seconds(server.pid)
                flooded = await asyncio.to_thread(flood, port, server.pid)
                used = h2load.process_seconds(server.pid) - used
                figures[f"grpcio {release}"] = Figure(statistics.median(rates[release]), "calls/s")
                figures[f"grpcio {release}, memory by PINGs"] = at_most(flooded.gained, "MB", GATE)
                figures[f"grpcio {release}, PINGs taken"] = Figure(flooded.sent, "MB")
                figures[f"grpcio {release}, CPU by PINGs"] = Figure(used, "s")
    return figures


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
    flags = arguments(__doc__)
    flags.add_argument("--releases", nargs="+", metavar="RELEASE", help=f"releases of grpcio ({' '.join(RELEASES)})")
    chosen = flags.parse_args()
    if missing := h2load.what_is_missing():
        sys.exit(missing)
    turns, calls = (1, 1_000) if chosen.quick else (7, 10_000)
    releases = tuple(chosen.releases or ((RELEASES[0], RELEASES[-1]) if chosen.quick else RELEASES))
    figures = asyncio.run(measure(releases, turns, calls))
    show("grpcio_version", figures, chosen.as_json)
    locked = figures.get(f"grpcio {grpc.__version__}, memory by PINGs")
    if locked is not None and not locked.met:
        sys.exit(f"grpcio {grpc.__version__}, which is installed here, fails the gate")


if __name__ == "__main__":
    main()
