"""Bare servers to measure against."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

from gossipcontrol.server.app import server_options
from gossipcontrol.server.config import Limits

from bench import echo
from tests.kit.process import Process


def echo_server(port: int, answer_bytes: int, *parses: str, python: str = sys.executable) -> Process:
    """An echo server with the service's options, run by this interpreter.

    ``parses`` may be a method and what parses its requests, ``module:Name``: it then does that as well.
    """
    options = json.dumps(server_options(Limits()))
    return Process(f"echo {port}", python, str(Path(echo.__file__)), str(port), str(answer_bytes), options, *parses)


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports
