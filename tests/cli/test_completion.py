"""Shell completion with the ids of the running service, bounded in time."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from gossipcontrol.cli.main import main

from tests.cli.test_main import run
from tests.kit.hostile_text import HOSTILE
from tests.kit.service_lab import BareAgent, Service, connected

NODE = "3658937da4a9" + "1" * 52


def completed(address: str, *words: str, beginning: str = "") -> list[str]:
    shell = ShellComplete(main, {}, "gossipcontrol", "_GOSSIPCONTROL_COMPLETE")
    return [item.value for item in shell.get_completions([*words, "--address", address], beginning)]


@pytest.mark.parametrize(
    ("words", "beginning", "found"),
    [
        (("rejoin",), "36", [NODE]), (("rejoin", NODE), "", ["notes"]), (("peers",), "no", ["notes"]),
        (("explain",), "zzz", []), (("explain",), "ki", ["kitchen"]),
    ],
)  # fmt: skip
async def test_ids_of_the_service_are_offered(
    service: Service, words: tuple[str, ...], beginning: str, found: list[str]
) -> None:
    async with connected(service.address) as stub:
        await BareAgent(stub).register(NODE, "notes", name="kitchen")
        assert await asyncio.to_thread(completed, service.address, *words, beginning=beginning) == found


@pytest.mark.not_on_windows("completion is for the shells of other systems")
async def test_a_shell_gets_the_ids_of_options_and_of_rejoins(service: Service) -> None:
    async with connected(service.address) as stub:
        await BareAgent(stub).register(NODE, "notes")
        assert (await run(service, "rejoin", "36", "notes")).exit_code == 0
        for words, found in (("stores --node 3", NODE), ("cancel ", "-1"), ("peers ", "notes")):
            assert found in await asyncio.to_thread(in_bash, service, f"gossipcontrol {words}")


def in_bash(service: Service, line: str) -> str:
    """What click's script for bash would be given."""
    words = line.split(" ")
    environ = os.environ | {
        "_GOSSIPCONTROL_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1),
        "GOSSIPCONTROL_ADDRESS": service.address,
    }  # fmt: skip
    program = Path(sys.executable).parent / "gossipcontrol"
    return subprocess.run([program], env=environ, capture_output=True, text=True, check=True).stdout


async def test_an_id_that_a_shell_would_obey_is_not_offered(service: Service) -> None:
    for text in HOSTILE.values():
        await run(service, "rejoin", "--park", "n", text)
    await run(service, "rejoin", "--park", "n", "$(reboot)", "good")
    assert "good" in (offered := await asyncio.to_thread(completed, service.address, "peers"))
    assert all(one.isprintable() and "$" not in one for one in offered)


async def test_a_service_that_does_not_answer_is_not_waited_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for address in (f"127.0.0.1:{listener.getsockname()[1]}", f"unix:{tmp_path}/none.sock", "nonsense"):
            began = time.monotonic()
            assert await asyncio.to_thread(completed, address, "peers") == []
            assert time.monotonic() - began < 5
