"""Serf agents on hosts, as a baseline for measurements."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.kit.network import Host
from tests.kit.process import Process

VERSION = "v0.11.0"


def what_is_missing() -> str:
    """What this machine lacks to build Serf, and what to do about it; empty when it lacks nothing."""
    return (
        ""
        if _binary().exists() or shutil.which("go")
        else "Serf is not measured: go is missing (apt-get install golang)"
    )


def build() -> str:
    """The path of the program, built once and cached; raises CalledProcessError with the compiler's output."""
    binary = _binary()
    if not binary.exists():
        environment = {**os.environ, "GOBIN": str(binary.parent)}
        command = ("go", "install", f"github.com/hashicorp/serf/cmd/serf@{VERSION}")
        subprocess.run(command, env=environment, check=True, capture_output=True)
    return str(binary)


def _binary() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "gossipcontrol" / f"serf-{VERSION}" / "serf"


def serf(program: str, host: Host, *join: Host) -> Process:
    """One agent with Serf's default configuration, which is for a LAN."""
    peers = [f"-retry-join={other.address}" for other in join if other is not host]
    command = (program, "agent", f"-node={host.namespace}", f"-bind={host.address}", "-retry-interval=1s", *peers)
    return Process(f"serf {host.number}", *command, host=host)
