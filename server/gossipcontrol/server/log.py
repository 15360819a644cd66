"""Structured logs on standard error, one line per decision."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TextIO, cast

import structlog
from gossipcontrol.server.config import Log
from structlog.typing import FilteringBoundLogger, Processor


class _Sink:
    """A stream whose loss (a closed pipe, a full disk) costs lines, and never a decision."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def make_logger(config: Log) -> FilteringBoundLogger:
    """A logger as configured; each line is logfmt or one JSON object, with a UTC timestamp."""
    renderer: Processor = structlog.processors.JSONRenderer()
    if config.format == "logfmt":
        renderer = structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], bool_as_flag=False)
    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(cast("TextIO", _Sink(sys.stderr))),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[config.level.upper()]),
    ).bind()
    return logger
