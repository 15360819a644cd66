"""A signal ends a program in good order on every system: it is handled by the event loop, in its main thread."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from gossipcontrol.system.stop import SIGNALS

PROGRAM = """
import asyncio, signal, threading
from gossipcontrol.system.stop import on_stop
async def run():
    stopped = asyncio.Event()
    on_stop(stopped.set)
    threading.Timer(0.05, signal.raise_signal, ({number},)).start()
    async with asyncio.timeout(20):
        await stopped.wait()
    print("stopped in", threading.current_thread().name)
asyncio.run(run())
"""


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
async def test_a_signal_is_handled_in_the_loop(number: int) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM.format(number=int(number)), stdout=subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert output.decode().strip() == "stopped in MainThread"
    assert process.returncode == 0


@pytest.mark.only_on_windows
async def test_a_signal_after_the_loop_has_ended_is_no_error() -> None:
    """Elsewhere the event loop takes its handlers back at its end."""
    program = PROGRAM + "signal.raise_signal({number})\nprint('still here')\n"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program.format(number=int(SIGNALS[0])), stdout=subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert output.decode().splitlines()[-1] == "still here"
