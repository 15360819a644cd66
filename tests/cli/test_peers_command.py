"""``gossipcontrol peers`` and ``gossipcontrol top`` as people and programs run them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import struct
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from gossipcontrol.client import Client, LivenessReport, PeerObservation
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.presence.record import PeerState
from gossipcontrol.v1 import liveness_pb2

from tests.agent.fake import Proxy
from tests.cli.test_main import read, run, run_at
from tests.kit.address import address_of, local_address
from tests.kit.scripted_service import scripted
from tests.kit.service_lab import BareAgent, Service, config, connected, deciding, serving
from tests.kit.standbys import replicas
from tests.kit.until import DEADLINE, until

if sys.platform != "win32":
    import fcntl
    import pty
    import termios


async def hear(service: Service, *peer_ids: str, store_id: str = "a", node_id: str = "n") -> None:
    peers = tuple(PeerObservation(one, heard_age=0.0) for one in peer_ids)
    async with Client(service.address) as client:
        await client.peer_liveness([LivenessReport(node_id=node_id, store_id=store_id, peers=peers)])


class Command:
    """A command that runs on until it is stopped."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> str:
        """Its next line."""
        assert self.process.stdout is not None
        async with asyncio.timeout(DEADLINE):
            line = (await self.process.stdout.readline()).decode()
        assert line, "it ended"
        return line.rstrip("\n")

    async def event(self, what: str) -> dict[str, Any]:
        """Its next JSON line of this kind."""
        while True:
            said: dict[str, Any] = json.loads(await self.line())
            if said["event"] == what:
                return said

    async def stop(self, number: int = signal.SIGINT) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        async with asyncio.timeout(DEADLINE):
            return await self.process.wait()


@asynccontextmanager
async def started(address: str, *words: str) -> AsyncGenerator[Command]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-u", "-m", "gossipcontrol.cli", *words, env=os.environ | {"GOSSIPCONTROL_ADDRESS": address},
        stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield Command(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_peers_are_shown_with_their_states(service: Service) -> None:
    await hear(service, "p", "[bold]q")
    async with Client(service.address) as client:
        await client.peer_liveness([LivenessReport(node_id="n", store_id="a", peers=(PeerObservation("r"),))])
    table = (await run(service, "peers", "a")).stdout.splitlines()
    assert table[0].split() == ["PEER", "STATE", "HEARD", "OBSERVERS"]
    assert [line.split()[:2] for line in table[1:]] == [
        ["[bold]q", "online"], ["n", "online"], ["p", "online"], ["r", "unknown"],
    ]  # fmt: skip
    assert "never" in table[-1]
    assert [peer["peer_id"] for peer in await read(service, "peers", "a", "--state", "unknown")] == ["r"]
    nowhere = await run(service, "peers", "nowhere")
    assert (nowhere.exit_code, nowhere.stdout) == (1, "")
    assert "no store is known whose id begins with nowhere" in nowhere.stderr
    assert (await run(service, "peers", "a", "--state", "happy")).exit_code == 2
    assert (await run(service, "peers", "x" * 129)).exit_code == 1


async def test_a_sleeping_host_is_shown_asleep(service: Service) -> None:
    async with connected(service.address) as stub:
        agent = BareAgent(stub)
        await agent.register("n", "a", host_id="h")
        await agent.send(liveness=liveness_pb2.LivenessReport(store_id="a"))
        await agent.receive("ack")
        assert (await run(service, "report", "sleep", "--host-id", "h")).exit_code == 0
        [peer] = await read(service, "peers", "a")
        assert (peer["peer_id"], peer["state"]) == ("n", "asleep")


@pytest.mark.not_on_windows("Wine without a console sends no signals; test_stop.py raises them in the process")
async def test_changes_are_shown_as_they_come_until_ctrl_c(service: Service) -> None:
    await hear(service, "p")
    async with started(service.address, "peers", "a", "--watch", "--json") as watching:
        shown = [await watching.event("peer") for _ in range(2)]
        assert [(one["peer"], one["before"], one["state"]) for one in shown] == [
            ("n", "absent", "online"), ("p", "absent", "online"),
        ]  # fmt: skip
        assert (await watching.event("watching"))["peers"] == 2
        await hear(service, "p", "q")
        while (await watching.event("peer"))["peer"] != "q":
            pass
        async with Client(service.address) as client:
            await client.peer_liveness([LivenessReport(node_id="n", store_id="a", going_to_sleep=True)])
        while (change := await watching.event("peer"))["state"] != "asleep":
            pass
        assert change["peer"] == "n"
        assert await watching.stop() == 0


@pytest.mark.not_on_windows("Wine without a console sends no signals; test_stop.py raises them in the process")
async def test_a_watch_survives_a_restart_of_the_service(tmp_path: Path) -> None:
    settings = config(tmp_path, deciding=deciding())
    address = address_of(settings)
    async with started_late(settings, address) as (watching, service):
        await hear(service, "p")
        assert (await watching.event("peer"))["peer"] in ("n", "p")
        await service.app.stop()
        # As it is told; or as the connection ends, when that is noticed first.
        assert (await watching.event("lost"))["error"]
        async with serving(settings) as again:
            await watching.event("lagged")
            await hear(again, "new")
            while (await watching.event("peer"))["peer"] != "new":
                pass
            assert await watching.stop(signal.SIGTERM) == 0


@pytest.mark.not_on_windows("Wine without a console sends no signals; test_stop.py raises them in the process")
async def test_a_watch_says_where_it_reconnects_after_a_takeover(tmp_path: Path) -> None:
    async with replicas(tmp_path) as three, started(three.listed, "peers", "a", "--watch") as watching:
        assert "0 peers" in await watching.line()
        await three.serve(1)
        assert "reconnecting to 127.0.0.1:" in await watching.line()
        assert f"{three.addresses[1]} serves" in await watching.line()
        assert await watching.stop(signal.SIGTERM) == 0


async def test_a_command_asks_the_replica_that_serves_and_says_why_none_does(tmp_path: Path) -> None:
    async with replicas(tmp_path) as three:
        await three.serve(2)
        assert (await run_at(three.listed, "stores")).exit_code == 0
        await three.serve(None)
        await three.end(0)
        nobody = await run_at(three.listed, "stores", "--timeout", "0.5")
        if "gives no answer in time" in nobody.stderr:  # this machine is too slow to hear a standby so soon
            nobody = await run_at(three.listed, "stores", "--timeout", "8")
        assert nobody.exit_code == 3
        silent = f"no replica serves: {three.addresses[0]}: nothing listens there"
        assert silent in nobody.stderr
        assert "this replica stands by" in nobody.stderr


@asynccontextmanager
async def started_late(settings: Any, address: str) -> AsyncGenerator[tuple[Command, Service]]:
    async with serving(settings) as service, started(address, "peers", "a", "--watch", "--json") as watching:
        await watching.event("watching")
        yield watching, service


@pytest.mark.not_on_windows("Wine without a console sends no signals; test_stop.py raises them in the process")
async def test_only_changes_into_or_out_of_a_state_are_shown(service: Service) -> None:
    await hear(service, "p")
    async with started(service.address, "peers", "a", "--watch", "--state", "asleep") as watching:
        assert "2 peers; waiting for changes" in await watching.line()
        await hear(service, "p", "q")
        async with Client(service.address) as client:
            await client.peer_liveness([LivenessReport(node_id="n", store_id="a", going_to_sleep=True)])
        assert "-> asleep, heard" in await watching.line()
        assert await watching.stop() == 0


@pytest.mark.not_on_windows("Wine without a console sends no signals; test_stop.py raises them in the process")
async def test_a_large_snapshot_that_comes_again_tells_only_what_differs(tmp_path: Path) -> None:
    async with scripted(tmp_path, liveness=LivenessParameters(change_limit=50)) as scene:
        for number in range(2500):
            scene.liveness.put("s", f"p{number:04}", PeerState.ONLINE)
        async with (
            Proxy.to(scene.service.tcp) as proxy,
            started(proxy.address, "peers", "s", "--watch", "--json") as watching,
        ):
            assert (await watching.event("watching"))["peers"] == 2500
            proxy.dead = True
            proxy.cut()
            await watching.event("lost")
            new = [f"q{number:02}" for number in range(60)]
            await scene.change("s", ("p2000", None), *((one, PeerState.ONLINE) for one in new))
            proxy.dead = False
            proxy.cut()
            await watching.event("lagged")
            changes = [await watching.event("peer") for _ in range(61)]
            assert [(one["peer"], one["before"], one["state"]) for one in changes] == [
                *((one, "absent", "online") for one in new), ("p2000", "online", "absent"),
            ]  # fmt: skip
            assert await watching.stop() == 0


async def output(service: Service, *words: str) -> list[str]:
    """What a command prints until it ends by itself."""
    async with started(service.address, *words) as command, asyncio.timeout(DEADLINE):
        printed, _ = await command.process.communicate()
        assert command.process.returncode == 0
        return printed.decode().splitlines()


async def test_top_prints_a_line_per_store_or_an_object_per_look(service: Service) -> None:
    assert "no stores yet" in (await output(service, "top", "--count", "1"))[0]
    await hear(service, "p", "q")
    await hear(service, "p", store_id="odd store")
    lines = await output(service, "top", "--count", "2", "--interval", "0.1")
    assert len(lines) == 4
    assert "store=a nodes=1 attached=0 online=3 suspect=0 offline=0" in lines[0]
    assert 'store="odd store" nodes=1' in lines[1]
    looks = await output(service, "top", "--count", "2", "--interval", "0.1", "--json")
    assert [[store["online"] for store in json.loads(look)["stores"]] for look in looks] == [[3, 2]] * 2


async def test_top_without_a_service_exits_with_three(tmp_path: Path) -> None:
    async with started(local_address(tmp_path / "none.sock"), "top") as watching:
        async with asyncio.timeout(DEADLINE * 2):
            assert await watching.process.wait() == 3


@pytest.mark.not_on_windows("Wine without a console sends no signals; test_stop.py raises them in the process")
async def test_top_waits_for_a_service_that_goes_and_comes_back(tmp_path: Path) -> None:
    settings = config(tmp_path, deciding=deciding())
    async with serving(settings) as service, started(service.address, "top", "--json", "--interval", "0.1") as top:
        assert json.loads(await top.line())["error"] == ""
        await service.app.stop()
        while not json.loads(await top.line())["error"].startswith(f"no service at {service.address}: "):
            pass
        async with serving(settings):
            while json.loads(await top.line())["error"]:
                pass
            assert await top.stop() == 0


@pytest.mark.not_on_windows("Wine without a console sends no signals; test_stop.py raises them in the process")
async def test_top_in_a_pipe_ends_well_on_a_signal(service: Service) -> None:
    await hear(service, "p")
    async with started(service.address, "top", "--json", "--interval", "0.1") as watching:
        assert json.loads(await watching.line())["error"] == ""
        assert await watching.stop() == 0


ON_ITS_TERMINAL = """
import fcntl, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # the terminal that Ctrl-C comes from
from gossipcontrol.cli.main import main
main()
"""


class Terminal:
    """A terminal of 80 x 20 with a command on it."""

    def __init__(self) -> None:
        self.near, self.far = pty.openpty()
        fcntl.ioctl(self.far, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 80, 0, 0))
        self.shown = ""
        os.set_blocking(self.near, False)

    def settings(self) -> list[Any]:
        return termios.tcgetattr(self.far)

    async def until(self, text: str) -> None:
        """Read until the command has shown this."""

        def there() -> bool:
            self.read()
            return text in self.shown

        await until(there, f"{text!r} is shown; there is only {self.shown!r}")

    async def until_ended(self, process: asyncio.subprocess.Process) -> None:
        """Read until the command has ended, which waits until the terminal has taken all that it wrote."""

        def ended() -> bool:
            self.read()
            return process.returncode is not None

        await until(ended, "the command has ended")

    def read(self) -> None:
        with suppress(BlockingIOError):
            self.shown += os.read(self.near, 65536).decode()

    def press(self, keys: bytes) -> None:
        os.write(self.near, keys)

    def close(self) -> None:
        os.close(self.near)
        os.close(self.far)


@pytest.mark.not_on_windows("it has no pseudo-terminals")
@pytest.mark.parametrize("key", [b"q", b"Q", b"\x03"])
async def test_top_on_a_terminal_refreshes_in_place_and_restores_it(service: Service, key: bytes) -> None:
    await hear(service, "p")
    terminal = Terminal()
    before = terminal.settings()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ON_ITS_TERMINAL, "top", "--interval", "0.1",
        env={name: text for name, text in os.environ.items() if name not in ("COLUMNS", "LINES")}
        | {"GOSSIPCONTROL_ADDRESS": service.address, "TERM": "xterm"},
        stdin=terminal.far, stdout=terminal.far, stderr=terminal.far,
        start_new_session=True,
    )  # fmt: skip
    try:
        await terminal.until("STALEST")
        assert "\x1b[?1049h" in terminal.shown, "on a screen of its own"
        assert terminal.settings() != before, "keys come one by one"
        await hear(service, "p", store_id="second")
        await terminal.until("second")
        terminal.press(b"x")
        terminal.press(key)
        await terminal.until_ended(process)
        assert process.returncode == 0
        await terminal.until("\x1b[?1049l")
        assert terminal.settings() == before
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        terminal.close()
