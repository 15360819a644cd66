"""Windows: sleep and wake, as its power manager calls them out to programs and services alike."""

from __future__ import annotations

import asyncio
import ctypes
import threading
from collections.abc import AsyncGenerator
from ctypes import byref, c_uint32, c_void_p
from typing import Any

from gossipcontrol.system.windows import library
from gossipcontrol.watch import windows_layout as layout
from gossipcontrol.watch.change import ChangeKind

ANNOUNCE_TIME = 1.0
"""Seconds for which sleep is held back, so that it can be announced; Windows waits for about two."""

CALLBACK = getattr(ctypes, "WINFUNCTYPE", ctypes.CFUNCTYPE)(c_uint32, c_void_p, c_uint32, c_void_p)


class Subscription(ctypes.Structure):
    """DEVICE_NOTIFY_SUBSCRIBE_PARAMETERS, which free headers lack: Microsoft's metadata (crate windows-sys) have it."""

    _fields_ = (("callback", c_void_p), ("context", c_void_p))


class SuspendSource:
    """SLEEPING and RESUMED, each once.

    A wake-up of the machine is called out at once, and once more when a user is there: that is the same one. Messages
    to windows would not do: on devices with Modern Standby they do not come.
    """

    name = "power manager"

    def __init__(self, powrprof: Any = None, announce_time: float = ANNOUNCE_TIME) -> None:
        self._library = powrprof
        self._announce_time = announce_time

    async def watch(self) -> AsyncGenerator[ChangeKind, None]:
        """Each change of power; raises OSError where there are no such notifications."""
        powrprof = self._library or library("powrprof")
        changes: asyncio.Queue[ChangeKind] = asyncio.Queue()
        listener = _Listener(asyncio.get_running_loop(), changes, self._announce_time)
        callback = CALLBACK(listener.called)
        subscription = Subscription(ctypes.cast(callback, c_void_p).value)
        handle = c_void_p()
        error = powrprof.PowerRegisterSuspendResumeNotification(
            layout.DEVICE_NOTIFY_CALLBACK, byref(subscription), byref(handle)
        )
        if error:
            raise OSError(f"PowerRegisterSuspendResumeNotification: error {error}")
        try:
            while True:
                yield await changes.get()
        finally:
            listener.close()
            powrprof.PowerUnregisterSuspendResumeNotification(handle)


class _Listener:
    """What is called in a thread of Windows."""

    def __init__(self, loop: asyncio.AbstractEventLoop, changes: asyncio.Queue[ChangeKind], held: float) -> None:
        self._loop = loop
        self._changes = changes
        self._held = held
        self._closed = threading.Event()
        self._was_told = True
        """Whether RESUMED was told since the last suspension."""

    def called(self, context: int | None, kind: int, setting: int | None) -> int:
        """Tell the event loop. The machine sleeps once this returns from a suspension, so it returns late."""
        del context, setting
        if kind == layout.PBT_APMSUSPEND:
            self._was_told = False
            self._tell(ChangeKind.SLEEPING)
            self._closed.wait(self._held)
        elif kind == layout.PBT_APMRESUMEAUTOMATIC or (kind == layout.PBT_APMRESUMESUSPEND and not self._was_told):
            self._was_told = True
            self._tell(ChangeKind.RESUMED)
        return 0

    def close(self) -> None:
        """Let the machine sleep."""
        self._closed.set()

    def _tell(self, kind: ChangeKind) -> None:
        if not self._closed.is_set() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._changes.put_nowait, kind)
