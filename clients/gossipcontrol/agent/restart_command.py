"""Runs the operator's command that restarts the node: where the service advises it, and nothing else helped."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from typing import IO, NamedTuple

from gossipcontrol.agent.event import error_text
from gossipcontrol.v1 import attach_pb2

INTERVAL = 600.0
"""Least seconds between two runs of the command, whatever the service advises."""
TIMEOUT = 60.0
"""Seconds after which the command is killed, with what it started in its process group."""
OUTPUT = 2000
"""Most bytes of its output that are logged, the last ones."""
_logger = logging.getLogger("gossipcontrol.agent")


class Ended(NamedTuple):
    """How a run of the command ended."""

    exit_code: int | None
    """None: a signal ended it, or it could not be started."""
    duration: float
    error: str
    """Empty when it ended with 0."""
    output: str = ""
    """The end of what it wrote."""


def split_command(text: str, *, windows: bool = os.name == "nt") -> tuple[str, ...]:
    """The program and its arguments, as a shell would split them; none runs. Raises ValueError.

    On Windows a backslash is no escape, and double quotes hold a word together.
    """
    if not windows:
        return tuple(shlex.split(text))
    words = shlex.split(text, posix=False)
    return tuple(word[1:-1] if len(word) > 1 and word[0] == word[-1] == '"' else word for word in words)


class RestartCommand:
    """The command, run at most once per ``INTERVAL``; ``undelivered`` are results that no stream has delivered yet.

    It runs in a session of its own and is not ended with the agent, for it may restart the agent's own process.
    """

    def __init__(
        self,
        command: Sequence[str],
        on_result: Callable[[], None],
        *,
        timeout: float = TIMEOUT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.command = tuple(command)
        """Empty: there is none, and advice is only told."""
        self.undelivered: dict[str, attach_pb2.RestartResult] = {}
        self._on_result = on_result
        self._timeout = timeout
        self._clock = clock
        self._not_before = 0.0

    def obey(self, rejoin_id: str) -> str:
        """Run the command because of this rejoin, or do not; returns which of the two, as a sentence."""
        if not self.command:
            return "no restart command is configured"
        wait = self._not_before - self._clock()
        if wait > 0:
            return f"the restart command is not run again for {wait:.0f} s"
        self._not_before = self._clock() + INTERVAL
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._run, args=(rejoin_id, loop), name="restart command", daemon=True).start()
        return f"running the restart command {shlex.join(self.command)}"

    def _run(self, rejoin_id: str, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread of its own: no event loop of every platform can wait for a process."""
        ended = run(self.command, self._timeout)
        level = logging.INFO if not ended.error else logging.WARNING
        _logger.log(level, "restart command: %s after %.1f s", ended.error or "ended with 0", ended.duration)
        if ended.output:
            _logger.log(level, "restart command wrote: %s", ended.output)
        try:
            loop.call_soon_threadsafe(self._finish, rejoin_id, ended)
        except RuntimeError:  # the agent's loop was closed meanwhile: nobody is left to tell
            return

    def _finish(self, rejoin_id: str, ended: Ended) -> None:
        self.undelivered[rejoin_id] = attach_pb2.RestartResult(
            rejoin_id=rejoin_id,
            exit_code=ended.exit_code,
            duration_ms=round(ended.duration * 1000),
            error=error_text(ended.error),
        )
        self._on_result()


def run(command: Sequence[str], timeout: float) -> Ended:
    """Run a command to its end, or kill it; its output goes to a file, for a pipe would break with the agent."""
    began_at = time.monotonic()
    with tempfile.TemporaryFile() as output:
        try:
            process = start(command, output)
        except OSError as error:
            return Ended(None, 0.0, f"{command[0]} cannot be started: {error.strerror or error}")
        try:
            ended = process.wait(timeout)
            code = ended if ended >= 0 else None
            told = f"ended with {ended}" if ended > 0 else f"ended by signal {-ended}" if ended else ""
        except subprocess.TimeoutExpired:
            kill(process)
            process.wait()
            code, told = None, f"killed after {timeout:g} s"
        return Ended(code, time.monotonic() - began_at, told, _end_of(output))


def start(command: Sequence[str], output: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own; raises OSError."""
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        creationflags=flags,
        start_new_session=True,  # which Windows ignores
    )


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the command, and on POSIX what it started."""
    if sys.platform == "win32":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)  # it leads its group, and is not waited for yet


def _end_of(output: IO[bytes]) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - OUTPUT))
    return output.read(OUTPUT).decode(errors="replace").strip()
