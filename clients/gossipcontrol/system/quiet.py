"""What gRPC's core writes to standard error beside the log of a program."""

from __future__ import annotations

import os


def quiet_grpc() -> None:
    """Have it write nothing, unless GRPC_VERBOSITY says otherwise; counts if called before grpc is imported.

    It writes lines for each handshake of TLS that fails, and for each record that is none: strangers would fill a hub's
    log, and one address that refuses that of an agent.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
