"""A real D-Bus daemon with a login1 that sleeps on command."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from dbus_fast import Message, MessageType
from dbus_fast.aio import MessageBus
from gossipcontrol.watch.change import ChangeKind
from gossipcontrol.watch.logind import MANAGER, NAME, PATH, LogindSource

from tests.kit.until import until

needs_bus = pytest.mark.skipif(
    shutil.which("dbus-daemon") is None, reason="the program dbus-daemon is missing: apt-get install dbus-daemon"
)
LIMIT = 30.0
CONFIG = """<busconfig>
<type>session</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default">
<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
</policy>
</busconfig>"""


class Logind:
    """A login1 that hands out inhibitors and says when it sleeps."""

    def __init__(self, bus: MessageBus) -> None:
        self._bus = bus
        self._holders: list[int] = []
        self._news = asyncio.Condition()
        self._answers: set[asyncio.Task[None]] = set()
        self.inhibits: list[list[str]] = []
        self.answering = asyncio.Event()
        """Cleared while it takes its time to answer."""
        self.answering.set()

    def take(self, message: Message) -> bool:
        if message.message_type is not MessageType.METHOD_CALL or message.member != "Inhibit":
            return False
        self._answers.add(asyncio.get_running_loop().create_task(self._answer(message)))
        return True

    async def _answer(self, message: Message) -> None:
        async with self._news:
            self.inhibits.append(list(message.body))
            self._news.notify_all()
        await self.answering.wait()
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        await self._bus.send(  # pyright: ignore[reportUnknownMemberType]
            Message.new_method_return(message, "h", [0], [writer])
        )
        os.close(writer)
        async with self._news:
            self._holders.append(reader)
            self._news.notify_all()

    async def arrive(self) -> None:
        """Take the name, as logind does when it has started."""
        await self._bus.request_name(NAME)

    async def restart(self) -> None:
        """Lose the name and take it again."""
        await self._bus.release_name(NAME)
        await self.arrive()

    async def joined(self) -> None:
        """Wait until a client has connected, before there is anybody to ask."""
        await until(self._is_joined, "a client has connected to the bus", within=LIMIT)

    async def _is_joined(self) -> bool:
        ask = Message(
            destination="org.freedesktop.DBus", path="/org/freedesktop/DBus", interface="org.freedesktop.DBus",
            member="ListNames",
        )  # fmt: skip
        answer = await self._bus.call(ask)
        assert answer is not None
        names: list[str] = answer.body[0]
        return sum(name.startswith(":") for name in names) >= 2

    async def asked(self, times: int) -> None:
        """Wait until an inhibitor has been asked for so often."""
        async with asyncio.timeout(LIMIT), self._news:
            await self._news.wait_for(lambda: len(self.inhibits) >= times)

    async def held(self, times: int) -> None:
        """Wait until so many inhibitors have been given."""
        async with asyncio.timeout(LIMIT), self._news:
            await self._news.wait_for(lambda: len(self._holders) >= times)

    async def released(self, number: int = -1) -> None:
        """Wait until an inhibitor, the newest, is let go: its pipe ends."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        reader = self._holders[number]
        loop.add_reader(reader, ended.set)
        try:
            async with asyncio.timeout(LIMIT):
                await ended.wait()
        finally:
            loop.remove_reader(reader)
        assert os.read(reader, 1) == b""

    async def prepare_for_sleep(self, asleep: object, signature: str = "b", destination: str | None = None) -> None:
        await self._bus.send(  # pyright: ignore[reportUnknownMemberType]
            Message(
                message_type=MessageType.SIGNAL, path=PATH, interface=MANAGER, member="PrepareForSleep",
                signature=signature, body=[asleep], destination=destination,
            )
        )  # fmt: skip

    def close(self) -> None:
        for reader in self._holders:
            os.close(reader)


@asynccontextmanager
async def bus_daemon(directory: Path, *, own_name: bool = True) -> AsyncGenerator[Logind]:
    """A private system bus with logind on it."""
    config, path = directory / "bus.conf", directory / "bus.sock"
    path.unlink(missing_ok=True)
    config.write_text(CONFIG.format(path=path))
    daemon = await asyncio.create_subprocess_exec(
        "dbus-daemon", f"--config-file={config}", "--nofork", "--print-address", stdout=asyncio.subprocess.PIPE
    )
    assert daemon.stdout is not None
    try:
        async with asyncio.timeout(LIMIT):
            await daemon.stdout.readline()
        bus = await MessageBus(bus_address=f"unix:path={path}", negotiate_unix_fd=True).connect()
        logind = Logind(bus)
        bus.add_message_handler(logind.take)
        if own_name:
            await logind.arrive()
        yield logind
        logind.close()
        bus.disconnect()
    finally:
        daemon.kill()
        await daemon.wait()


@pytest.fixture
async def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/bus.sock")
    return tmp_path


async def soon(failures: int) -> None:
    """Try again at once."""
    await asyncio.sleep(0.01)


def source(announce_time: float = 0.0) -> LogindSource:
    return LogindSource(soon, announce_time)


async def following(changes: AsyncGenerator[ChangeKind, None]) -> ChangeKind:
    async with asyncio.timeout(LIMIT):
        return await anext(changes)


@needs_bus
async def test_sleep_and_resume_are_told_and_the_inhibitor_is_let_go_and_taken_again(directory: Path) -> None:
    async with bus_daemon(directory) as logind, aclosing(source().watch()) as changes:
        first = asyncio.create_task(following(changes))
        await logind.held(1)
        assert logind.inhibits[0][0] == "sleep"
        assert logind.inhibits[0][3] == "delay"
        await logind.prepare_for_sleep(True)
        assert await first is ChangeKind.SLEEPING
        second = asyncio.create_task(following(changes))
        await logind.released()
        await logind.prepare_for_sleep(False)
        assert await second is ChangeKind.RESUMED
        third = asyncio.create_task(following(changes))
        await logind.held(2)
        await logind.prepare_for_sleep(True)
        assert await third is ChangeKind.SLEEPING


@needs_bus
async def test_an_inhibitor_that_outlives_a_short_sleep_is_kept(directory: Path) -> None:
    async with bus_daemon(directory) as logind, aclosing(source(announce_time=3600.0).watch()) as changes:
        told = []
        first = asyncio.create_task(following(changes))
        await logind.held(1)
        for asleep in (True, False, True):
            await logind.prepare_for_sleep(asleep)
        told = [await first, await following(changes), await following(changes)]
        assert told == [ChangeKind.SLEEPING, ChangeKind.RESUMED, ChangeKind.SLEEPING]
        assert len(logind.inhibits) == 1


@needs_bus
async def test_signals_of_another_shape_or_to_us_alone_are_not_believed(directory: Path) -> None:
    async with bus_daemon(directory) as logind, aclosing(source().watch()) as changes:
        first = asyncio.create_task(following(changes))
        await logind.held(1)
        await logind.prepare_for_sleep("yes", "s")
        await logind.prepare_for_sleep(True, destination=":1.1")
        await logind.prepare_for_sleep(False)
        assert await first is ChangeKind.RESUMED


@needs_bus
async def test_the_death_of_the_bus_and_its_return_are_survived(directory: Path) -> None:
    async with aclosing(source().watch()) as changes:
        waiting = asyncio.create_task(following(changes))
        for _ in range(2):
            async with bus_daemon(directory) as logind:
                await logind.held(1)
        async with bus_daemon(directory) as logind:
            await logind.held(1)
            await logind.prepare_for_sleep(False)
            assert await waiting is ChangeKind.RESUMED


@needs_bus
async def test_a_logind_that_comes_after_the_bus_is_asked_too(directory: Path) -> None:
    async with bus_daemon(directory, own_name=False) as logind, aclosing(source().watch()) as changes:
        waiting = asyncio.create_task(following(changes))
        await logind.joined()
        await logind.arrive()
        await logind.held(1)
        await logind.prepare_for_sleep(False)
        assert await waiting is ChangeKind.RESUMED


@needs_bus
async def test_of_two_inhibitors_that_were_asked_for_at_once_none_outlives_the_announcement(directory: Path) -> None:
    async with bus_daemon(directory) as logind, aclosing(source().watch()) as changes:
        waiting = asyncio.create_task(following(changes))
        logind.answering.clear()
        await logind.asked(1)
        await logind.restart()
        await logind.asked(2)
        logind.answering.set()
        await logind.held(2)
        await logind.prepare_for_sleep(True)
        assert await waiting is ChangeKind.SLEEPING
        waiting = asyncio.create_task(following(changes))
        for number in range(2):
            await logind.released(number)
        await logind.prepare_for_sleep(False)
        assert await waiting is ChangeKind.RESUMED


class Lingering(MessageBus):
    """A connection that is read on when it was left, as any is for what has arrived by then."""

    def disconnect(self) -> None:
        """Leave it to the end of the bus."""


@needs_bus
async def test_an_inhibitor_that_comes_when_the_bus_was_left_is_let_go(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gossipcontrol.watch.logind.MessageBus", Lingering)
    async with bus_daemon(directory) as logind:
        logind.answering.clear()
        waiting = asyncio.create_task(following(source().watch()))
        await logind.asked(1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        logind.answering.set()
        await logind.held(1)
        await logind.released()


@pytest.mark.parametrize("address", ["unix:path=/nonexistent/bus", "nonsense", "unix:", ""])
async def test_without_d_bus_it_waits_and_does_no_harm(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address or "tcp:host=127.0.0.1,port=1")
    tried: list[int] = []
    enough = asyncio.Event()

    async def pause(failures: int) -> None:
        tried.append(failures)
        if len(tried) == 12:
            enough.set()
            await asyncio.Event().wait()

    changes = LogindSource(pause).watch()
    waiting = asyncio.ensure_future(anext(changes))
    async with asyncio.timeout(LIMIT):
        await enough.wait()
    assert not waiting.done()
    assert tried == [*range(1, 11), 10, 10]
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
