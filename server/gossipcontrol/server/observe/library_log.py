"""Lines of the libraries (gRPC for Python, asyncio, uvicorn) in the format of the service's log."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gossipcontrol.server.observe.log import Logger


class LibraryLog(logging.Handler):
    """Writes each record of Python's ``logging`` as a line ``library`` with the name of its logger."""

    def __init__(self, log: Logger) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; what cannot be formatted is lost, as with every handler."""
        try:
            text = record.getMessage()
        except (TypeError, ValueError):
            text = str(record.msg)
        write = self._log.error if record.levelno >= logging.ERROR else self._log.warning
        error = record.exc_info[1] if record.exc_info else None
        write("library", logger=record.name, text=text, **({"exc_info": error} if error else {}))


def take_library_lines(log: Logger) -> LibraryLog:
    """Have all loggers of Python write to this log; the caller removes the handler from the root logger at the end."""
    handler = LibraryLog(log)
    logging.getLogger().addHandler(handler)
    return handler
