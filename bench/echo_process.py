"""The bare server of bench/echo.py as a process, to measure the service against."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from gossipcontrol.server.app import server_options
from gossipcontrol.server.config import Limits

from bench import echo
from tests.kit.process import Process


def echo_server(port: int, answer_bytes: int, *parsing: str, python: str = sys.executable) -> Process:
    """A bare server on a loopback port, with the service's channel options, run by this interpreter.

    ``parsing`` is nothing, or a method and how its requests are parsed (see bench/echo.py).
    """
    options = json.dumps(server_options(Limits()))
    return Process(f"echo {port}", python, str(Path(echo.__file__)), str(port), str(answer_bytes), options, *parsing)
