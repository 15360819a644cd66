"""Processes that print one JSON object per line, and waiting for what they print."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

from tests.kit.network import Host

Line: TypeAlias = dict[str, Any]
"""One line: ``event``, ``ts`` (wall clock, seconds; when it was read, if the process does not say), and other fields.

A line that is no JSON has the event ``line`` and the field ``text``.
"""
STOP_TIME = 8.0
"""Seconds that a process has to stop after a signal, before it is killed."""
LAST_LINES = 40
"""Lines that a failure shows."""
CLIENT = (sys.executable, "-m", "gossipcontrol.cli")
PYTHON_NODE = (*CLIENT, "agent", "iroh", "--engine", "python")
"""The reference node in Python; others take the same flags and print the same lines."""


class Process:
    """One process, in a host's namespace or in this one. ``async with`` starts it, and stops it at the end."""

    def __init__(
        self,
        name: str,
        *command: str,
        host: Host | None = None,
        environment: Mapping[str, str] | None = None,
        on_line: Callable[[Process, Line], None] = lambda _process, _line: None,
    ) -> None:
        self.name = name
        self.lines: list[Line] = []
        self._command = (*(("ip", "netns", "exec", host.namespace) if host else ()), *command)
        self._environment = {**os.environ, **(environment or {})}
        self._on_line = on_line
        self._news = asyncio.Condition()
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """The id of the running process."""
        assert self._process is not None
        return self._process.pid

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self, **environment: str) -> None:
        """Start it, also again after a stop, with more in its environment; the lines from before are kept."""
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**self._environment, **environment},
            limit=1 << 20,
        )
        self._reader = asyncio.create_task(self._read(self._process))

    async def ended(self, within: float = 60.0) -> int:
        """Wait until it ends by itself; returns the exit code."""
        assert self._process is not None
        async with asyncio.timeout(within):
            return await self._process.wait()

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; returns the exit code."""
        assert self._process is not None
        assert self._reader is not None
        if self._process.returncode is None:
            self._process.send_signal(number)
            with suppress(ProcessLookupError):  # it may have ended already
                self.thaw()  # a frozen process handles no other signal
            try:
                async with asyncio.timeout(STOP_TIME):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
        await self._reader
        return await self._process.wait()

    def freeze(self) -> None:
        """Suspend the process (SIGSTOP): it neither answers nor closes anything."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume a frozen process (SIGCONT)."""
        os.kill(self.pid, signal.SIGCONT)

    async def wait_for(
        self, event: str, timeout: float, *, after: float = 0.0, count: int = 1, **fields: object
    ) -> Line:
        """The ``count``th line with this event and fields after an instant; raises TimeoutError with its last lines."""
        what = f"{count} times the event {event!r}" + (f" with {fields}" if fields else "")
        return await self._wait(lambda: self.all(event, after=after, **fields)[count - 1 :], timeout, what)

    async def wait_for_text(self, text: str, timeout: float) -> Line:
        """The first line that is no JSON and contains this text; raises TimeoutError with the last lines."""
        return await self._wait(lambda: [one for one in self.all("line") if text in one["text"]], timeout, repr(text))

    async def _wait(self, find: Callable[[], list[Line]], timeout: float, what: str) -> Line:
        try:
            async with asyncio.timeout(timeout), self._news:
                while not (found := find()):
                    await self._news.wait()
                return found[0]
        except TimeoutError:
            last = "\n".join(json.dumps(line) for line in self.lines[-LAST_LINES:])
            raise TimeoutError(
                f"{self.name} did not print {what} in {timeout:g} s; its last lines:\n{last or '(none)'}"
            ) from None

    def all(self, event: str, *, after: float = 0.0, **fields: object) -> list[Line]:
        """Every line with this event and these fields, printed after an instant."""
        return [
            line
            for line in self.lines
            if line["event"] == event
            and line["ts"] > after
            and all(line.get(name) == value for name, value in fields.items())
        ]

    def forget(self, before: float) -> None:
        """Forget the lines from before an instant (wall clock), so that searching the others stays cheap."""
        self.lines[:] = [line for line in self.lines if line["ts"] >= before]

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for text in process.stdout:
            line = _parse(text.decode(errors="replace").rstrip())
            async with self._news:
                self.lines.append(line)
                self._news.notify_all()
            self._on_line(self, line)


def _parse(text: str) -> Line:
    try:
        line: Line = json.loads(text)
    except ValueError:
        return {"event": "line", "ts": time.time(), "text": text}
    if "timestamp" in line:
        line["ts"] = datetime.fromisoformat(line["timestamp"]).timestamp()
    line.setdefault("ts", time.time())
    return line


def service(host: Host | None, directory: Path, *, log_to: Path | None = None, **settings: str) -> Process:
    """The service with its Unix socket in ``directory``; settings such as ``listen_tcp`` override the kit's own.

    With ``log_to`` it prints nothing, and writes its log to that file.
    """
    chosen = {"listen_socket": str(_socket(directory)), "listen_tcp": "", "metrics_address": "", "log_format": "json"}
    chosen["state_path"] = str(directory / "state.db")
    environment = {f"GOSSIPCONTROL_{name.upper()}": value for name, value in {**chosen, **settings}.items()}
    command = (sys.executable, "-m", "gossipcontrol.server")
    if log_to is not None:
        command = ("sh", "-c", f"exec {sys.executable} -m gossipcontrol.server 2>>{log_to}")
    return Process("service", *command, host=host, environment=environment)


def watcher(host: Host, directory: Path, *flags: str) -> Process:
    """The host's watcher, which reports to the service of ``directory``."""
    command = (*CLIENT, "watch", "--json", "--host-id", host.namespace, "--address", f"unix:{_socket(directory)}")
    return Process("watcher", *command, *flags, host=host, environment={"RUNTIME_DIRECTORY": str(directory)})


def agent(
    host: Host,
    store: str,
    *flags: str,
    directory: Path | None = None,
    name: str = "agent",
    program: Sequence[str] = PYTHON_NODE,
    on_line: Callable[[Process, Line], None] = lambda _process, _line: None,
) -> Process:
    """An iroh-gossip node with its agent, attached to the service of ``directory``; without one, the bare node."""
    attached = ("--address", f"unix:{_socket(directory)}") if directory else ("--no-control",)
    command = (*program, "--json", "--store", store, "--host-id", host.namespace)
    environment = {"RUNTIME_DIRECTORY": str(directory)} if directory else {}
    return Process(name, *command, *attached, *flags, host=host, environment=environment, on_line=on_line)


def _socket(directory: Path) -> Path:
    return directory / "gossipcontrol.sock"
