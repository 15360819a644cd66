"""Free ports, for programs that take a number and cannot choose one themselves."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

NOT_GIVEN_OUT = (10_000, 32_768)
"""Ports below those that systems give to whoever asks for any: between the choice and the use nobody gets one."""


def free_ports(count: int) -> list[int]:
    """Loopback ports on which nobody listens now."""
    ports: list[int] = []
    with ExitStack() as sockets:
        while len(ports) < count:
            port = random.randrange(*NOT_GIVEN_OUT)
            try:
                sockets.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError:  # somebody listens there
                continue
            ports.append(port)
    return ports
