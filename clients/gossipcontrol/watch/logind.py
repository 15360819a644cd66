"""Sleep and wake told by logind over D-Bus."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

from dbus_fast import BusType, Message, MessageType
from dbus_fast.aio import MessageBus
from dbus_fast.errors import DBusError
from gossipcontrol.client.retry import reconnect_wait
from gossipcontrol.watch.change import ChangeKind

NAME, PATH, MANAGER = "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager"
MATCH = f"type='signal',sender='{NAME}',path='{PATH}',interface='{MANAGER}',member='PrepareForSleep'"
ANNOUNCE_TIME = 1.0
"""Seconds for which sleep is held back, so that it can be announced."""


class LogindSource:
    """SLEEPING and RESUMED. Comes back when D-Bus does; without D-Bus it waits for it."""

    async def watch(self) -> AsyncIterator[ChangeKind]:
        """Each PrepareForSleep."""
        failures = 0
        while True:
            changes: asyncio.Queue[ChangeKind | None] = asyncio.Queue()
            try:
                connection = _Connection(changes)
                await connection.open()
            except (OSError, DBusError, EOFError):
                failures = min(failures + 1, 10)
                await asyncio.sleep(10 * reconnect_wait(failures))
                continue
            failures = 0
            try:
                while (change := await changes.get()) is not None:
                    yield change
                    if change is ChangeKind.SLEEPING:
                        connection.let_sleep(ANNOUNCE_TIME)
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
        self._ended: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await self._bus.connect()
        self._ended = asyncio.create_task(self._wait_for_end())
        self._bus.add_message_handler(self._take)
        match = Message(
            destination="org.freedesktop.DBus", path="/org/freedesktop/DBus", interface="org.freedesktop.DBus",
            member="AddMatch", signature="s", body=[MATCH],
        )  # fmt: skip
        await self._bus.call(match)
        await self.hold_sleep()

    async def hold_sleep(self) -> None:
        """Ask logind to wait a moment before the next sleep; it may refuse, and sleep is then told later."""
        if self._inhibitor >= 0:
            return
        ask = Message(
            destination=NAME, path=PATH, interface=MANAGER, member="Inhibit", signature="ssss",
            body=["sleep", "gossipcontrol", "announce the sleep to peers", "delay"],
        )  # fmt: skip
        answer = await self._bus.call(ask)
        if answer.message_type is MessageType.METHOD_RETURN and answer.unix_fds:
            self._inhibitor = answer.unix_fds[0]

    def let_sleep(self, after: float) -> None:
        """Let the host sleep when the announcement has had its time."""
        asyncio.get_running_loop().call_later(after, self._release)

    def close(self) -> None:
        self._release()
        if self._ended is not None:
            self._ended.cancel()
        self._bus.disconnect()

    def _release(self) -> None:
        if self._inhibitor >= 0:
            os.close(self._inhibitor)
            self._inhibitor = -1

    def _take(self, message: Message) -> None:
        if message.message_type is MessageType.SIGNAL and message.member == "PrepareForSleep":
            self._changes.put_nowait(ChangeKind.SLEEPING if message.body[0] else ChangeKind.RESUMED)

    async def _wait_for_end(self) -> None:
        # However the connection ends, the source opens another.
        with contextlib.suppress(OSError, EOFError, DBusError):
            await self._bus.wait_for_disconnect()  # type: ignore[no-untyped-call]
        self._changes.put_nowait(None)
