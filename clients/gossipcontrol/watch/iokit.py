"""Sleep and wake of a Mac, as IOKit announces them; for users and for daemons of root.

Constants: IOKit/IOMessage.h. IOKit calls from a thread of its own: no run loop is needed.
"""

from __future__ import annotations

import asyncio
import ctypes
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, TypeAlias

from gossipcontrol.watch.change import ChangeKind
from gossipcontrol.watch.source import PowerSource
from gossipcontrol.watch.suspend import ClockSource, Suspension

FRAMEWORK = "/System/Library/Frameworks/IOKit.framework/IOKit"
CAN_SLEEP, WILL_SLEEP, HAS_POWERED_ON = 0xE0000270, 0xE0000280, 0xE0000300
"""kIOMessageCanSystemSleep, kIOMessageSystemWillSleep, kIOMessageSystemHasPoweredOn."""
ANNOUNCE_TIME = 1.0
"""Seconds for which sleep is held back, so that it can be announced; the system waits for 30 at most."""
SHORTEST = 600.0
"""Seconds of sleep that count where only the clocks tell: a Mac wakes in the dark every few minutes, and is not used
(tailscale/tailscale#19226)."""

_Callback: TypeAlias = Callable[[int | None, int, int, int | None], None]
_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p)
_KEPT: list[object] = []
"""Callbacks are never freed: a thread of IOKit may be in one when its registration ends."""


class MacPowerSource:
    """SLEEPING and RESUMED from IOKit; where it is not there, RESUMED of long sleeps from the clocks."""

    name = "IOKit"

    def __init__(
        self, library: str = FRAMEWORK, fallback: PowerSource | None = None, announce_time: float = ANNOUNCE_TIME
    ) -> None:
        self._library = library
        self._fallback = fallback
        self._announce_time = announce_time

    async def check(self) -> str:
        """Whether IOKit answers; raises OSError."""
        try:
            _Registration(self._library, self._announce_time).close()
        except AttributeError as error:
            raise OSError(str(error)) from error
        return "IOKit announces sleep and wake"

    async def watch(self) -> AsyncGenerator[ChangeKind, None]:
        """Each change of power. Wakes in the dark are none: IOKit says nothing of them."""
        try:
            registration = _Registration(self._library, self._announce_time)
        except (OSError, AttributeError):
            fallback = self._fallback or ClockSource(Suspension.of_this_boot(shortest=SHORTEST, adds_up=False))
            async for kind in fallback.watch():
                yield kind
            return
        async with aclosing(_follow(registration)) as changes:
            async for kind in changes:
                yield kind


async def _follow(registration: _Registration) -> AsyncGenerator[ChangeKind, None]:
    try:
        while True:
            yield await registration.changes.get()
    finally:
        registration.close()


class _Registration:
    """What IOKit and the dispatch library were given; raises OSError when IOKit refuses."""

    def __init__(self, library: str, announce_time: float) -> None:
        self.changes: asyncio.Queue[ChangeKind] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._announce_time = announce_time
        self._closed = threading.Event()
        self._library = declare(ctypes.CDLL(library))
        self._port, self._notifier = ctypes.c_void_p(), ctypes.c_uint32()
        self._callback = _CALLBACK(self._called)
        _KEPT.append(self._callback)
        self._root = int(
            self._library.IORegisterForSystemPower(
                None, ctypes.byref(self._port), self._callback, ctypes.byref(self._notifier)
            )
        )
        if not self._root:
            raise OSError("IOKit refuses to announce sleep")
        queue = self._library.dispatch_queue_create(b"gossipcontrol.power", None)
        self._library.IONotificationPortSetDispatchQueue(self._port, queue)

    def close(self) -> None:
        """End it; a sleep that waits for us goes on."""
        self._closed.set()
        self._library.IODeregisterForSystemPower(ctypes.byref(self._notifier))
        self._library.IONotificationPortSetDispatchQueue(self._port, None)
        self._library.IOServiceClose(self._root)
        self._library.IONotificationPortDestroy(self._port)

    def _called(self, refcon: int | None, service: int, kind: int, argument: int | None) -> None:
        """In a thread of IOKit. Only what can be vetoed or held back is answered, and always."""
        del refcon, service
        if kind == HAS_POWERED_ON:
            self._put(ChangeKind.RESUMED)
        if kind == WILL_SLEEP:
            self._put(ChangeKind.SLEEPING)
            # Not in the event loop: however busy that is, the answer is in time.
            self._closed.wait(self._announce_time)
        if kind in (CAN_SLEEP, WILL_SLEEP):
            self._library.IOAllowPowerChange(self._root, argument or 0)

    def _put(self, kind: ChangeKind) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.changes.put_nowait, kind)


def declare(library: Any) -> Any:
    """The functions with their types: arguments of messages are pointers, of 64 bits. Raises AttributeError."""
    port, connect, notifier = ctypes.c_void_p, ctypes.c_uint32, ctypes.POINTER(ctypes.c_uint32)
    library.IORegisterForSystemPower.argtypes = (ctypes.c_void_p, ctypes.POINTER(port), _CALLBACK, notifier)
    library.IORegisterForSystemPower.restype = connect
    library.IONotificationPortSetDispatchQueue.argtypes = (port, ctypes.c_void_p)
    library.IONotificationPortSetDispatchQueue.restype = None
    library.IOAllowPowerChange.argtypes = (connect, ctypes.c_ssize_t)
    library.IOAllowPowerChange.restype = ctypes.c_int32
    library.IODeregisterForSystemPower.argtypes = (notifier,)
    library.IODeregisterForSystemPower.restype = ctypes.c_int32
    library.IOServiceClose.argtypes = (connect,)
    library.IOServiceClose.restype = ctypes.c_int32
    library.IONotificationPortDestroy.argtypes = (port,)
    library.IONotificationPortDestroy.restype = None
    library.dispatch_queue_create.argtypes = (ctypes.c_char_p, ctypes.c_void_p)
    library.dispatch_queue_create.restype = ctypes.c_void_p
    return library
