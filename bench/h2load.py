"""A load generator in C, so that the client is not the bottleneck: h2load sends one gRPC message repeatedly."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass

FRAME_HEADER = 5
"""Bytes before each gRPC message: not compressed, and its length."""


def what_is_missing() -> str:
    """What this machine lacks for h2load, and what to do about it; empty when it lacks nothing."""
    return "" if shutil.which("h2load") else "the program h2load is missing: apt-get install nghttp2-client"


@dataclass(frozen=True, slots=True)
class Load:
    """The result of one run of the generator."""

    rate: float
    """Calls per second."""
    client_share: float
    """CPU share of one core that the generator used; well below 1, it was not the bottleneck."""
    server_share: float
    """CPU share of one core that the server used; near 1, it was the bottleneck."""

    @property
    def server_us(self) -> float:
        """CPU time that the server took per call, in microseconds."""
        return self.server_share / self.rate * 1e6


def run(
    port: int, method: str, message: bytes, *, calls: int, in_flight: int, server_pid: int, token: str = ""
) -> Load:
    """Call ``/package.Service/Method`` with one message, over TLS where there is a token to show.

    Raises RuntimeError with h2load's output if a call failed.
    """
    connections = min(in_flight, 4)
    with tempfile.NamedTemporaryFile() as body:
        body.write(b"\0" + len(message).to_bytes(4, "big") + message)
        body.flush()
        command = (
            "h2load", f"--requests={calls}", f"--clients={connections}", "--threads=1",
            f"--max-concurrent-streams={in_flight // connections}", f"--data={body.name}",
            "--header=content-type: application/grpc", "--header=te: trailers",
            *((f"--header=authorization: Bearer {token}",) if token else ()),
            f"http{'s' if token else ''}://127.0.0.1:{port}{method}",
        )  # fmt: skip
        client_before, server_before, started_at = _children_seconds(), process_seconds(server_pid), time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        took = time.perf_counter() - started_at
        client, server = _children_seconds() - client_before, process_seconds(server_pid) - server_before
    succeeded = re.search(r"(\d+) succeeded", done.stdout)
    rate = re.search(r"([\d.]+) req/s", done.stdout)
    if succeeded is None or rate is None or int(succeeded[1]) != calls:
        raise RuntimeError(done.stdout)
    return Load(float(rate[1]), client / took, server / took)


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def process_seconds(pid: int) -> float:
    """CPU time that a process has used."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:  # noqa: PTH123 - a file of the kernel's
        user, system = file.read().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
