"""Structured logs on standard error, one line per decision."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TextIO, cast

import structlog
from gossipcontrol.server.config import Log
from structlog.typing import EventDict, FilteringBoundLogger, Processor

BATCH_TIME = 0.01
"""Seconds for which lines wait for one another, once one has been written."""


class Logger:
    """Makes and writes a line at once, and those that follow within ``BATCH_TIME`` together.

    Making one line between two calls costs several times what making many in a row does, and each write lets go of the
    interpreter, which gRPC's own thread then takes: at thousands of decisions per second it is logging that counts.
    Without a running event loop every line is written at once. The loss of the stream (a closed pipe, a full disk)
    costs lines, and never a decision.
    """

    def __init__(self, config: Log, stream: TextIO, wall: Callable[[], float] = time.time) -> None:
        self._stream = stream
        self._wall = wall
        self._made: list[str] = []
        self._waiting: list[tuple[str, str, dict[str, Any]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._level = logging.getLevelNamesMapping()[config.level.upper()]
        self._maker = _line_maker(config, self)

    def is_enabled_for(self, level: int) -> bool:
        """Whether lines of this level are written."""
        return level >= self._level

    def debug(self, event: str, **fields: Any) -> None:
        """What only a developer wants to know."""
        self._take(logging.DEBUG, "debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """What happened."""
        self._take(logging.INFO, "info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """What should not happen."""
        self._take(logging.WARNING, "warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """What must not happen."""
        self._take(logging.ERROR, "error", event, fields)

    def close(self) -> None:
        """Write what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._write()

    def write(self, text: str) -> None:
        """Take a line that was made."""
        self._made.append(text)

    def flush(self) -> None:
        """Nothing: lines are written together."""

    def _take(self, level: int, name: str, event: str, fields: dict[str, Any]) -> None:
        if level < self._level:
            return
        fields["timestamp"] = self._wall()
        self._waiting.append((name, event, fields))
        if self._timer is None:
            self._write_and_wait()

    def _write_and_wait(self) -> None:
        self._write()
        with contextlib.suppress(RuntimeError):
            self._timer = asyncio.get_running_loop().call_later(BATCH_TIME, self._time_is_up)

    def _time_is_up(self) -> None:
        self._timer = None
        if self._waiting:
            self._write_and_wait()

    def _write(self) -> None:
        for name, event, fields in self._waiting:
            getattr(self._maker, name)(event, **fields)
        self._waiting.clear()
        text = "".join(self._made)
        self._made.clear()
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()


def make_logger(config: Log) -> Logger:
    """A logger as configured; each line is logfmt or one JSON object, with a UTC timestamp."""
    return Logger(config, sys.stderr)


def _line_maker(config: Log, sink: Logger) -> FilteringBoundLogger:
    renderer: Processor = structlog.processors.JSONRenderer()
    if config.format == "logfmt":
        renderer = structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], bool_as_flag=False)
    maker: FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(cast("TextIO", sink)),
        processors=[structlog.processors.add_log_level, _stamp, structlog.processors.format_exc_info, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
    ).bind()
    return maker


def _stamp(_logger: object, _name: str, event: EventDict) -> EventDict:
    """When it happened, not when the line was made."""
    event["timestamp"] = (
        datetime.fromtimestamp(event["timestamp"], UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    )
    return event
