"""Signals of the running service: reload, a dump of its tasks, and no death by either."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.kit.service_process import ServiceProcess
from tests.kit.until import DEADLINE

BASE = """
[listen]
socket = "{socket}"
tcp = ""
[metrics]
address = ""
[state]
backend = "memory"
"""


@asynccontextmanager
async def configured(tmp_path: Path, more: str = "") -> AsyncGenerator[tuple[ServiceProcess, Path]]:
    """The service with a configuration file, which is returned too; it stops in order."""
    async with started(tmp_path, more) as (running, file):
        yield running, file
        assert await running.stop() == 0
        assert not running.socket.exists()


@asynccontextmanager
async def started(tmp_path: Path, more: str = "") -> AsyncGenerator[tuple[ServiceProcess, Path]]:
    """The same; however it ends."""
    file, socket = tmp_path / "gc.toml", tmp_path / "gc.sock"
    file.write_text(BASE.format(socket=socket) + more, encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gossipcontrol.server", "--config", str(file),
        stderr=asyncio.subprocess.PIPE, env=dict(os.environ),
    )  # fmt: skip
    running = ServiceProcess(process, socket)
    try:
        await running.until_serving()
        yield running, file
    finally:
        if process.returncode is None:
            process.kill()
        await running.drain()
        await process.wait()


async def read_until(running: ServiceProcess, event: str) -> list[str]:
    """The lines from now on until one with this event."""
    start = len(running.lines)
    async with asyncio.timeout(DEADLINE):
        while not any(f"event={event}" in line for line in running.lines[start:]):
            assert await running.read(), "the process ended; its log:\n" + "".join(running.lines)
    return running.lines[start:]


async def test_a_reload_applies_what_can_change_and_says_what_cannot(tmp_path: Path) -> None:
    async with configured(tmp_path) as (running, file):
        text = file.read_text(encoding="utf-8").replace('backend = "memory"', 'backend = "sqlite"')
        file.write_text(text + '[log]\nlevel = "debug"\n[limits]\nwatchers = 7\n', encoding="utf-8")
        running.process.send_signal(signal.SIGHUP)
        lines = await read_until(running, '"configuration reloaded"')
        changed = [line for line in lines if 'event="configuration changed"' in line]
        assert len(changed) == 2
        assert "key=log.level old=info new=debug" in "".join(changed)
        assert "key=limits.watchers old=1000 new=7" in "".join(changed)
        [waits] = [line for line in lines if 'event="restart needed"' in line]
        assert "key=state.backend runs_with=memory file_says=sqlite" in waits
        assert "changed=2 restart=1" in lines[-1]


async def test_a_broken_file_changes_nothing_and_is_named(tmp_path: Path) -> None:
    async with configured(tmp_path) as (running, file):
        good = file.read_text(encoding="utf-8")
        file.write_text(good + '[log]\nlevel = "debug"\n[limits]\nwatchers = "many"\n', encoding="utf-8")
        running.process.send_signal(signal.SIGHUP)
        [line] = [line for line in await read_until(running, '"configuration not reloaded"') if "reloaded" in line]
        assert "limits.watchers" in line
        file.write_text(good, encoding="utf-8")
        running.process.send_signal(signal.SIGHUP)
        lines = await read_until(running, '"configuration reloaded"')
        assert "changed=0 restart=0" in lines[-1]


async def test_the_tasks_are_dumped_with_where_they_wait(tmp_path: Path) -> None:
    async with configured(tmp_path) as (running, _):
        running.process.send_signal(signal.SIGUSR1)
        lines = await read_until(running, "tasks")
        assert 'event="state of tasks"' in lines[0]
        assert "agents=0" in lines[0]
        assert "waits_at=" in lines[1]


async def test_a_crash_says_where_each_thread_was(tmp_path: Path) -> None:
    """As when the core of gRPC ends the process: it writes nothing itself."""
    async with started(tmp_path) as (running, _):
        running.process.send_signal(signal.SIGABRT)
        assert await running.process.wait() == -signal.SIGABRT
        await running.drain()
    log = "".join(running.lines)
    assert "Fatal Python error: Aborted" in log
    assert "gossipcontrol/server/__main__.py" in log
