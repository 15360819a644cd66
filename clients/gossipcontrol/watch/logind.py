"""Sleep and wake, as logind announces them over D-Bus."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable

from dbus_fast import BusType, Message, MessageType
from dbus_fast.aio import MessageBus
from dbus_fast.errors import DBusFastError
from gossipcontrol.client.retry import reconnect_wait
from gossipcontrol.watch.change import ChangeKind

NAME, PATH, MANAGER = "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager"
MATCH = f"type='signal',sender='{NAME}',path='{PATH}',interface='{MANAGER}',member='PrepareForSleep'"
ARRIVAL = f"type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='{NAME}'"
"""logind may start after the bus, and may restart: an inhibitor of the previous one is then worth nothing."""
ANNOUNCE_TIME = 1.0
"""Seconds for which sleep is held back, so that it can be announced."""
ANSWER_TIME = 5.0
"""Seconds that D-Bus and logind get to answer."""
MOST_FAILURES = 10
BROKEN = (OSError, EOFError, TimeoutError, DBusFastError)
"""What a connection may end with."""


async def _pause(failures: int) -> None:
    await asyncio.sleep(10 * reconnect_wait(failures))


class LogindSource:
    """SLEEPING and RESUMED; connects again whenever D-Bus is there."""

    name = "logind"

    def __init__(self, pause: Callable[[int], Awaitable[None]] = _pause, announce_time: float = ANNOUNCE_TIME) -> None:
        self._pause = pause
        self._announce_time = announce_time

    async def watch(self) -> AsyncGenerator[ChangeKind, None]:
        """Each PrepareForSleep."""
        failures = 0
        while True:
            changes: asyncio.Queue[ChangeKind | None] = asyncio.Queue()
            with contextlib.suppress(*BROKEN):
                async with contextlib.aclosing(self._follow(changes)) as followed:
                    async for change in followed:
                        failures = 0
                        yield change
            # However a connection ends, the next one waits: a bus that accepts and drops us must not keep us busy.
            failures = min(failures + 1, MOST_FAILURES)
            await self._pause(failures)

    async def check(self) -> str:
        """Whether D-Bus and logind answer; raises OSError."""
        connection = _Connection(asyncio.Queue())
        try:
            await connection.open()
        except BROKEN as error:
            raise OSError(f"D-Bus or logind does not answer: {error or type(error).__name__}") from error
        finally:
            connection.close()
        return "logind announces sleep over D-Bus"

    async def _follow(self, changes: asyncio.Queue[ChangeKind | None]) -> AsyncGenerator[ChangeKind, None]:
        """The changes of one connection, until it ends."""
        connection = _Connection(changes)
        try:
            await connection.open()
            while (change := await changes.get()) is not None:
                yield change
                if change is ChangeKind.SLEEPING:
                    connection.let_sleep(self._announce_time)
                else:
                    await connection.hold_sleep()
        finally:
            connection.close()


class _Connection:
    """One connection to the bus, with the inhibitor that buys the time to announce a sleep."""

    def __init__(self, changes: asyncio.Queue[ChangeKind | None]) -> None:
        self._changes = changes
        self._bus = MessageBus(bus_type=BusType.SYSTEM, negotiate_unix_fd=True)
        self._inhibitor = -1
        self._closed = False
        self._release_timer: asyncio.TimerHandle | None = None
        self._ended: asyncio.Task[None] | None = None
        self._holding: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect, and listen before asking for anything; raises one of BROKEN."""
        async with asyncio.timeout(ANSWER_TIME):
            await self._bus.connect()
        self._ended = asyncio.create_task(self._wait_for_end())
        self._bus.add_message_handler(self._on_message)
        for rule in (MATCH, ARRIVAL):
            match = Message(
                destination="org.freedesktop.DBus", path="/org/freedesktop/DBus", interface="org.freedesktop.DBus",
                member="AddMatch", signature="s", body=[rule],
            )  # fmt: skip
            answer = await self._call(match)
            if answer.message_type is not MessageType.METHOD_RETURN:
                raise OSError(f"D-Bus refuses the subscription to sleep signals: {answer.error_name}")
        await self.hold_sleep()

    async def hold_sleep(self) -> None:
        """Ask logind to wait a moment before the next sleep; if it refuses, the sleep is announced late."""
        if self._release_timer is not None:
            self._release_timer.cancel()
        if self._inhibitor >= 0:
            return
        ask = Message(
            destination=NAME, path=PATH, interface=MANAGER, member="Inhibit", signature="ssss",
            body=["sleep", "gossipcontrol", "announce the sleep to peers", "delay"],
        )  # fmt: skip
        await self._call(ask)

    def let_sleep(self, after: float) -> None:
        """Let the host sleep when the announcement has had its time."""
        self._release_timer = asyncio.get_running_loop().call_later(after, self._release)

    def close(self) -> None:
        """Let the host sleep, and leave the bus."""
        self._closed = True
        if self._release_timer is not None:
            self._release_timer.cancel()
        self._release()
        for task in (self._ended, self._holding):
            if task is not None:
                task.cancel()
        self._bus.disconnect()

    async def _call(self, message: Message) -> Message:
        async with asyncio.timeout(ANSWER_TIME):
            return await self._bus.call(message)

    def _release(self) -> None:
        if self._inhibitor >= 0:
            os.close(self._inhibitor)
            self._inhibitor = -1

    def _keep(self, inhibitors: Iterable[int]) -> None:
        """Hold one inhibitor, and close any other at once: nothing would ever release it."""
        for inhibitor in inhibitors:
            if self._closed or self._inhibitor >= 0:
                os.close(inhibitor)
            else:
                self._inhibitor = inhibitor

    def _on_message(self, message: Message) -> None:
        if message.message_type is MessageType.METHOD_RETURN:
            # Here, and not where it was requested: that request may have timed out, or been repeated.
            self._keep(message.unix_fds)
        # The bus checks the sender of broadcasts only; a signal sent to us alone bypasses our match rule.
        if message.message_type is not MessageType.SIGNAL or message.destination:
            return
        if (message.interface, message.member, message.signature) == (MANAGER, "PrepareForSleep", "b"):
            self._changes.put_nowait(ChangeKind.SLEEPING if message.body[0] else ChangeKind.RESUMED)
        elif message.member == "NameOwnerChanged" and message.signature == "sss" and message.body[0] == NAME:
            self._release()
            if message.body[2]:
                self._holding = asyncio.create_task(self._hold_again())

    async def _hold_again(self) -> None:
        # If the connection breaks meanwhile, `_wait_for_end` notices.
        with contextlib.suppress(*BROKEN):
            await self.hold_sleep()

    async def _wait_for_end(self) -> None:
        # However the connection ends, the source opens another.
        with contextlib.suppress(*BROKEN):
            await self._bus.wait_for_disconnect()  # type: ignore[no-untyped-call]
        self._changes.put_nowait(None)
