"""File descriptors: each connection takes one, and without any the service accepts nobody, in silence."""

from __future__ import annotations

import sys

from gossipcontrol.server.config import Config
from gossipcontrol.server.observe.log import Logger

OWN = 100
"""Descriptors for the service itself: its files, sockets, threads, and the connections of the metrics page."""

HTTP_CONNECTIONS = 256
"""Most connections of HTTP at once. One more ends the one that has been without a request for longest."""


if sys.platform == "win32":

    def raise_limit() -> int:
        """Windows limits handles by memory alone; returns -1."""
        return -1

else:
    import resource

    def raise_limit() -> int:
        """Raise the process's soft limit of descriptors to the hard one; returns the limit, -1 for none."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            except (OSError, ValueError):  # a system whose hard limit is more than its kernel allows
                return soft
        return hard


def needed(config: Config) -> int:
    """Descriptors that a service at its limits takes, if each node and each watcher has a connection of its own."""
    return config.deciding.node_limit + config.limits.watchers + OWN + _of_http(config)


def _of_http(config: Config) -> int:
    return HTTP_CONNECTIONS if config.listen.http else 0


def check_descriptors(config: Config, log: Logger) -> None:
    """Take as many descriptors as the system gives, and warn when the limits of the configuration need more.

    The start goes on: agents may share connections, and the limits count nodes that are not attached.
    """
    limit = raise_limit()
    if 0 <= limit < needed(config):
        log.warning(
            "few descriptors",
            limit=limit,
            needed=needed(config),
            sum=f"{config.deciding.node_limit} nodes + {config.limits.watchers} watchers + {OWN} of its own"
            + (f" + {HTTP_CONNECTIONS} of HTTP" if config.listen.http else ""),
        )
