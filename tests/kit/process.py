"""Processes that say one JSON object per line, and conditions on what they say."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

from tests.kit.network import Host

Said: TypeAlias = dict[str, Any]
"""One line: ``event``, ``ts`` (wall clock, seconds; at the latest when it was read), and what else the process said."""
STOP_TIME = 8.0
"""Seconds that a process gets to stop after SIGTERM."""
CLIENT = (sys.executable, "-m", "gossipcontrol.cli")


class Process:
    """One process, in a host's namespace or here. ``async with`` starts it, and stops it in the end."""

    def __init__(
        self,
        name: str,
        *command: str,
        host: Host | None = None,
        environment: Mapping[str, str] | None = None,
        on_line: Callable[[Process, Said], None] = lambda _process, _said: None,
    ) -> None:
        self.name = name
        self.said: list[Said] = []
        self._command = (*(("ip", "netns", "exec", host.namespace) if host else ()), *command)
        self._environment = {**os.environ, **(environment or {})}
        self._on_line = on_line
        self._news = asyncio.Condition()
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start it, again if it was stopped; what it said before is kept."""
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._environment,
            limit=1 << 20,
        )
        self._reader = asyncio.create_task(self._read(self._process))

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; returns the exit code."""
        assert self._process is not None
        assert self._reader is not None
        if self._process.returncode is None:
            self._process.send_signal(number)
            with suppress(ProcessLookupError):  # it may be gone already
                self.thaw()  # a frozen one takes no other signal
            try:
                async with asyncio.timeout(STOP_TIME):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
        await self._reader
        return await self._process.wait()

    def freeze(self) -> None:
        """Stop the process where it is (SIGSTOP): it neither answers nor closes anything."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        os.kill(self.pid, signal.SIGCONT)

    async def wait_for(self, event: str, timeout: float, *, after: float = 0.0, **fields: object) -> Said:
        """The first line with this event and these fields after an instant; raises TimeoutError with what it said."""
        return await self._wait(lambda: self.all(event, after=after, **fields), timeout, f"{event} {fields}")

    async def wait_for_text(self, text: str, timeout: float) -> Said:
        """The first line for people with this text in it; raises TimeoutError with what it said."""
        return await self._wait(lambda: [one for one in self.all("line") if text in one["text"]], timeout, repr(text))

    async def _wait(self, find: Callable[[], list[Said]], timeout: float, what: str) -> Said:
        try:
            async with asyncio.timeout(timeout), self._news:
                while not (found := find()):
                    await self._news.wait()
                return found[0]
        except TimeoutError:
            told = "\n".join(json.dumps(said) for said in self.said[-40:])
            raise TimeoutError(f"{self.name} did not say {what} in {timeout:g} s; it said:\n{told}") from None

    def all(self, event: str, *, after: float = 0.0, **fields: object) -> list[Said]:
        """Every line with this event and these fields said after an instant."""
        return [
            said
            for said in self.said
            if said["event"] == event
            and said["ts"] > after
            and all(said.get(name) == value for name, value in fields.items())
        ]

    def forget(self, before: float) -> None:
        """Drop what was said before an instant (wall clock), so that looking through the rest stays cheap."""
        self.said[:] = [said for said in self.said if said["ts"] >= before]

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            said = _parse(line.decode(errors="replace").rstrip())
            async with self._news:
                self.said.append(said)
                self._news.notify_all()
            self._on_line(self, said)


def _parse(line: str) -> Said:
    try:
        said: Said = json.loads(line)
    except ValueError:
        return {"event": "line", "ts": time.time(), "text": line}
    if "timestamp" in said:
        said["ts"] = datetime.fromisoformat(said["timestamp"]).timestamp()
    said.setdefault("ts", time.time())
    return said


def service(host: Host | None, directory: Path, *, log_to: Path | None = None, **settings: str) -> Process:
    """The service with its Unix socket in ``directory``; settings such as ``listen_tcp`` go before its defaults.

    With ``log_to`` it says nothing here, and writes its log to that file.
    """
    chosen = {"listen_socket": str(_socket(directory)), "listen_tcp": "", "metrics_address": "", "log_format": "json"}
    chosen["state_path"] = str(directory / "state.db")
    environment = {f"GOSSIPCONTROL_{name.upper()}": value for name, value in {**chosen, **settings}.items()}
    command = (sys.executable, "-m", "gossipcontrol.server")
    if log_to is not None:
        command = ("sh", "-c", f"exec {sys.executable} -m gossipcontrol.server 2>>{log_to}")
    return Process("service", *command, host=host, environment=environment)


def watcher(host: Host, directory: Path, *flags: str) -> Process:
    """The host's watcher, reporting to the service of ``directory``."""
    command = (*CLIENT, "watch", "--json", "--host-id", host.namespace, "--address", f"unix:{_socket(directory)}")
    return Process("watcher", *command, *flags, host=host, environment={"RUNTIME_DIRECTORY": str(directory)})


def agent(
    host: Host,
    store: str,
    *flags: str,
    directory: Path | None = None,
    name: str = "agent",
    on_line: Callable[[Process, Said], None] = lambda _process, _said: None,
) -> Process:
    """An iroh-gossip node with its agent, attached to the service of ``directory``; without one, the bare node."""
    attached = ("--address", f"unix:{_socket(directory)}") if directory else ("--no-control",)
    command = (*CLIENT, "agent", "iroh", "--json", "--store", store, "--host-id", host.namespace)
    environment = {"RUNTIME_DIRECTORY": str(directory)} if directory else {}
    return Process(name, *command, *attached, *flags, host=host, environment=environment, on_line=on_line)


def _socket(directory: Path) -> Path:
    return directory / "gossipcontrol.sock"
