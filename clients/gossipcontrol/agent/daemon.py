"""A node that is another program's daemon: the agent beside it asks it over an interface of the daemon's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gossipcontrol.agent.node import Node

if TYPE_CHECKING:
    from gossipcontrol.agent.agent import Agent


class DaemonGoneError(Exception):
    """The daemon cannot be reached, or refuses what is asked; the message says why. It may come back."""


class DaemonNode(Node, Protocol):
    """One life of the daemon: it ends with the first connection that breaks."""

    async def begin(self, agent: Agent) -> None:
        """Report what is there before the agent attaches, so that nothing of it looks new; raises DaemonGoneError."""
        ...

    async def run(self, agent: Agent) -> None:
        """Report what changes until the daemon leaves its overlay for good; raises DaemonGoneError when it is gone."""
        ...

    def peer_addresses(self) -> list[str]:
        """Where its peers are, ``ip:port``, for the watcher; may be empty."""
        ...

    async def close(self) -> None:
        """Close what it opened."""
        ...
