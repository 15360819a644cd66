"""The bare server of bench/echo.py as a process, to measure the service against."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from gossipcontrol.server.config import Limits
from gossipcontrol.server.rpc.options import server_options

from bench import echo
from tests.kit.process import Process


def echo_server(
    port: int, answer_bytes: int, *parsing: str, python: str = sys.executable, pair: tuple[Path, Path] | None = None
) -> Process:
    """A bare server on a loopback port, with the service's channel options, run by this interpreter.

    ``parsing`` is nothing, or a method and how its requests are parsed (see bench/echo.py). With a ``pair`` of paths,
    certificate and key, it serves over TLS.
    """
    options = json.dumps(server_options(Limits()))
    environment = {echo.CERTIFICATE: str(pair[0]), echo.KEY: str(pair[1])} if pair else {}
    command = (python, str(Path(echo.__file__)), str(port), str(answer_bytes), options, *parsing)
    return Process(f"echo {port}", *command, environment=environment)
