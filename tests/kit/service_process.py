"""The service as a process of its own, for tests of its command line, its log and its limits."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.kit.until import DEADLINE


@dataclass
class ServiceProcess:
    """``python -m gossipcontrol.server`` and its log."""

    process: asyncio.subprocess.Process
    socket: Path
    lines: list[str] = field(default_factory=list[str])

    @property
    def address(self) -> str:
        """The address of its Unix socket."""
        return f"unix:{self.socket}"

    @property
    def tcp(self) -> str:
        """The address of its TCP port."""
        [line] = [line for line in self.lines if "event=serving" in line]
        return next(word.removeprefix("tcp=") for word in line.split() if word.startswith("tcp="))

    async def until_serving(self) -> None:
        """Read its log until the service serves."""
        async with asyncio.timeout(DEADLINE):
            while not any("event=serving" in line for line in self.lines):
                assert await self.read(), "the process ended before it served; its log:\n" + "".join(self.lines)

    async def read(self) -> bool:
        """Read one line of the log; False at its end."""
        assert self.process.stderr is not None
        line = (await self.process.stderr.readline()).decode()
        self.lines += [line] if line else []
        return bool(line)

    async def drain(self) -> None:
        """Read the log to its end, because a full pipe would block the process."""
        while await self.read():
            pass

    def resident(self) -> int:
        """Bytes of resident memory."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    async def stop(self, number: int = signal.SIGTERM, within: float = DEADLINE) -> int:
        """Send a signal and return the exit code; raises TimeoutError if it still runs after ``within`` seconds."""
        self.process.send_signal(number)
        async with asyncio.timeout(within):
            return await self.process.wait()


@asynccontextmanager
async def service_process(socket: Path, **environ: str) -> AsyncGenerator[ServiceProcess]:
    """Run the service on this socket and a free TCP port; kill it at the end if it still runs."""
    settings = {
        "GOSSIPCONTROL_LISTEN_SOCKET": str(socket),
        "GOSSIPCONTROL_LISTEN_TCP": "127.0.0.1:0",
        "GOSSIPCONTROL_METRICS_ADDRESS": "",
        "GOSSIPCONTROL_STATE_PATH": str(socket.with_name("state.db")),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gossipcontrol.server", env=os.environ | settings | environ,
        stderr=asyncio.subprocess.PIPE, limit=1 << 20,
    )  # fmt: skip
    running = ServiceProcess(process, socket)
    try:
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await running.drain()
        await process.wait()  # else its transport outlives the test
        await process.wait()
