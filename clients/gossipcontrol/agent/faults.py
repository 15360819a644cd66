"""Faults that an agent survives: each is logged and counted."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import ParamSpec

from gossipcontrol.agent.stats import AgentStats
from gossipcontrol.client.enumeration import OpenEnum

P = ParamSpec("P")
_logger = logging.getLogger("gossipcontrol.agent")


class Faults:
    """Logs and counts what goes wrong in the app's code, and what a newer service says."""

    def __init__(self, stats: AgentStats | None = None) -> None:
        self.stats = stats or AgentStats()

    def notify(self, callback: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call the app back; whatever it raises ends here."""
        try:
            callback(*args, **kwargs)
        except Exception:
            self.stats.callback_errors += 1
            _logger.exception("a callback of the app raised")

    def node_raised(self, method: str) -> None:
        """A method of the node raised the exception that is being handled."""
        self.stats.node_errors += 1
        _logger.exception("the node's %s raised", method)

    def unknown_frame(self) -> None:
        """The service sent a frame that this version does not know; the first one is logged."""
        self.stats.unknown_frames += 1
        if self.stats.unknown_frames == 1:
            _logger.warning("the service sent a frame that this version does not know; such frames are ignored")

    def check(self, *numbers: OpenEnum | None) -> None:
        """Count the numbers that this version does not know; their enumeration logs each once."""
        self.stats.unrecognized_numbers += sum(number is not None and not number.recognized for number in numbers)

    def unexpected(self) -> None:
        """The exception that is being handled ended a stream."""
        self.stats.unexpected_errors += 1
        _logger.exception("the stream to the service failed unexpectedly")
