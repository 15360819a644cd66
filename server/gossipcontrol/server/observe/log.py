"""Structured logs on standard error."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple, TextIO

from gossipcontrol.server.config import Log
from gossipcontrol.system.printable import printable

BATCH_TIME = 0.01
"""Seconds for which lines wait after one was written, to be written together."""
MOST_LINES = 100
"""Lines that are written in one pass of the event loop: 2 to 3 ms. A storm of changes brings hundreds at once."""

CACHED_LENGTH = 128
"""Characters of the longest text that is kept in memory as it is written."""
_PLAIN = re.compile(r"[!#-<>-\[\]-~]*").fullmatch
"""Text that logfmt writes as it is: printable ASCII without a space, a quote, ``=`` or a backslash."""


class Line(NamedTuple):
    """What a line is made from: a named tuple, because one is made per decision."""

    at: float
    """Wall clock."""
    level: str
    event: str
    fields: Mapping[str, Any]


class Logger:
    """Formats and writes a line at once, and the lines of the next ``BATCH_TIME`` seconds together.

    Formatting lines one by one costs several times what formatting many in a row does, and each write releases the
    interpreter to gRPC's thread; at thousands of decisions per second, logging dominates. Without a running event loop
    every line is written at once. When the stream fails (a closed pipe, a full disk), lines are lost, never decisions.
    """

    def __init__(self, config: Log, stream: TextIO, wall: Callable[[], float] = time.time) -> None:
        self._stream = stream
        self._wall = wall
        self._waiting: list[Line] = []
        self._timer: asyncio.TimerHandle | None = None
        self.configure(config)

    def configure(self, config: Log) -> None:
        """Write lines of this level and format from now on; what waits is written in the format of before."""
        self._write()
        self._level = logging.getLevelNamesMapping()[config.level.upper()]
        self._format = json_line if config.format == "json" else logfmt_line

    def is_enabled_for(self, level: int) -> bool:
        """Whether lines of this level are written."""
        return level >= self._level

    def debug(self, event: str, **fields: Any) -> None:
        """Log what helps a developer."""
        self._add(logging.DEBUG, "debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """Log what happened."""
        self._add(logging.INFO, "info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Log what an operator should look at."""
        self._add(logging.WARNING, "warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Log a failure of the service."""
        self._add(logging.ERROR, "error", event, fields)

    def close(self) -> None:
        """Write the lines that wait."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._write()

    def _add(self, level: int, name: str, event: str, fields: dict[str, Any]) -> None:
        if level < self._level:
            return
        if error := fields.pop("exc_info", None):
            fields["exception"] = "".join(traceback.format_exception(error)).rstrip()
        self._waiting.append(Line(self._wall(), name, event, fields))
        if self._timer is None:
            self._write_and_wait()

    def _write_and_wait(self) -> None:
        self._write(MOST_LINES)
        with contextlib.suppress(RuntimeError):
            wait = 0.0 if self._waiting else BATCH_TIME
            self._timer = asyncio.get_running_loop().call_later(wait, self._flush_batch)

    def _flush_batch(self) -> None:
        self._timer = None
        if self._waiting:
            self._write_and_wait()

    def _write(self, most: int | None = None) -> None:
        """Write the lines that wait, or so many of them."""
        if not self._waiting:
            return
        text = "".join([self._format(line) for line in self._waiting[:most]])
        del self._waiting[:most]
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()


def make_logger(config: Log) -> Logger:
    """A logger as configured; each line is logfmt or one JSON object, with a UTC timestamp."""
    return Logger(config, sys.stderr)


def logfmt_line(line: Line) -> str:
    """``timestamp=... level=... event=...`` and the fields, quoted and escaped as in JSON where necessary."""
    fields = "".join([f" {name}={_text(value)}" for name, value in line.fields.items()])
    return f"timestamp={_stamp(line.at)} level={line.level} event={_text(line.event)}{fields}\n"


def json_line(line: Line) -> str:
    """One JSON object."""
    fields = {**line.fields, "timestamp": _stamp(line.at), "event": line.event, "level": line.level}
    return json.dumps(fields, default=repr) + "\n"


def _text(value: object) -> str:
    if type(value) is str:
        return _cached(value) if len(value) <= CACHED_LENGTH else _quoted(value)
    if value is None:
        return ""
    return ("true" if value else "false") if isinstance(value, bool) else _quoted(str(value))


def _quoted(text: str) -> str:
    if _PLAIN(text):
        return text
    shown = printable(text.replace("\\", "\\\\"))
    if shown == text and not (" " in text or "=" in text or '"' in text):
        return text  # letters of other scripts
    quoted = shown.replace('"', '\\"')
    return f'"{quoted}"'


_cached = lru_cache(maxsize=2048)(_quoted)
"""For names, causes and reasons, which thousands of lines share."""


def _stamp(at: float) -> str:
    seconds, microseconds = divmod(round(at * 1_000_000), 1_000_000)
    return f"{_second(seconds)}.{microseconds:06d}Z"


@lru_cache(maxsize=16)
def _second(seconds: int) -> str:
    """The timestamp of a second, cached for the thousands of lines that share it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
