"""The service with an event loop that measures its turns: ``python -m bench.measured_service RESULT``.

Asyncio's own loop instead of uvloop, whose turns cannot be seen; the callbacks are the same. A turn is one pass of the
loop, in CPU seconds of its thread: waiting and other processes do not count. SIGUSR2 writes the longest since the last
one to the file RESULT as JSON, with the callback that took longest, and begins again.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from asyncio import events
from pathlib import Path
from typing import Any, NamedTuple, cast

from gossipcontrol.server.config import read_config
from gossipcontrol.server.observe.log import make_logger
from gossipcontrol.server.process import serve

LONG = 0.002
"""CPU seconds from which on a callback is described; describing costs more than a short one."""


STALL = 0.01
"""CPU seconds from which on a turn is a stall."""


class Stall(NamedTuple):
    """A turn that took long, in CPU seconds."""

    turn: float
    took: float
    """By the callback of it that took longest."""
    name: str
    callbacks: int
    """Number of them in the turn."""


class MeasuredLoop(asyncio.SelectorEventLoop):
    """Remembers its longest turn, and all stalls."""

    def __init__(self) -> None:
        super().__init__()
        self.begin()

    def begin(self) -> None:
        """Forget what was measured."""
        self.longest = 0.0
        self.callback = 0.0
        self.name = ""
        self.stalls: list[Stall] = []
        self._callbacks, self._most, self._name = 0, 0.0, ""

    def note(self, handle: events.Handle, took: float) -> None:
        """Remember a callback if it took longest."""
        self._callbacks += 1
        if took > self._most:
            self._most = took
            self._name = _describe(handle) if took > LONG else ""
            if took > self.callback:
                self.callback, self.name = took, self._name

    def _run_once(self) -> None:
        began = time.thread_time()
        self._callbacks, self._most, self._name = 0, 0.0, ""
        super()._run_once()  # type: ignore[misc]
        took = time.thread_time() - began
        self.longest = max(self.longest, took)
        if took > STALL:
            self.stalls.append(Stall(took, self._most, self._name, self._callbacks))


def _describe(handle: Any) -> str:
    """The coroutine of a task's step, or the callback."""
    callback = handle._callback
    task: Any = getattr(callback, "__self__", None)
    if isinstance(task, asyncio.Task):
        coroutine: Any = cast("Any", task).get_coro()
        return str(getattr(coroutine, "__qualname__", coroutine))
    return str(getattr(callback, "__qualname__", callback))


def measure_callbacks(loop: MeasuredLoop) -> None:
    """Measure each callback of the loop."""
    run = events.Handle._run

    def measured(handle: events.Handle) -> None:
        began = time.thread_time()
        run(handle)
        loop.note(handle, time.thread_time() - began)

    setattr(events.Handle, "_run", measured)  # noqa: B010 - the loop offers no hook


def main() -> None:
    target = Path(sys.argv[1])
    config = read_config(None)
    loop = MeasuredLoop()
    measure_callbacks(loop)

    def tell(*_: object) -> None:
        result = {"longest": loop.longest, "callback": loop.callback, "name": loop.name}
        loop.begin()
        partial = target.with_suffix(".partial")
        partial.write_text(json.dumps(result))
        partial.rename(target)

    signal.signal(signal.SIGUSR2, tell)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(serve(config, make_logger(config.log)))


if __name__ == "__main__":
    main()
