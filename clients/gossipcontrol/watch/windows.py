"""Windows: IP Helper notifies that something changed; its tables show what."""

from __future__ import annotations

import asyncio
import ctypes
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager
from ctypes import byref, c_int, c_uint8, c_uint16, c_uint32, c_void_p
from typing import Any, TypeAlias

from gossipcontrol.system.windows import library
from gossipcontrol.watch import windows_layout as layout
from gossipcontrol.watch.change import Snapshot
from gossipcontrol.watch.scope import Filter
from gossipcontrol.watch.source import Peers, no_peers, peer_addresses
from gossipcontrol.watch.windows_layout import Layout
from gossipcontrol.watch.windows_tables import Tables, gateways, lost_interface, read_tables

PAUSE = 0.05
"""Shortest time between two snapshots, in seconds."""
UNCONFIRMED_INTERVAL = 1.0
"""Seconds between two snapshots while Windows has not shown for each kind of notification that it comes."""
UNKNOWN_INTERVAL = 5.0
"""Seconds between two snapshots while a gateway's hardware address is not known: Windows notifies of none."""
NOTIFICATIONS = (
    ("NotifyIpInterfaceChange", layout.INTERFACE),
    ("NotifyUnicastIpAddressChange", layout.ADDRESS),
    ("NotifyRouteChange2", layout.ROUTE),
)

OnNotification: TypeAlias = Callable[[Layout, bytes, int], None]
"""Called in a thread of Windows with the table, the row (empty at first) and the kind of change."""

_Callback = getattr(ctypes, "WINFUNCTYPE", ctypes.CFUNCTYPE)(None, c_void_p, c_void_p, c_int)


class IpHelper:
    """The calls of iphlpapi.dll that the watcher needs."""

    def __init__(self, tables: Any = None, notifications: Any = None) -> None:
        self._tables = tables or library("iphlpapi")
        self._notifications = notifications or self._tables

    def tables(self) -> Tables:
        """All rows now; raises OSError."""
        return Tables(
            self._rows("GetIfTable2", layout.LINK),
            self._rows("GetUnicastIpAddressTable", layout.ADDRESS, layout.AF_UNSPEC),
            self._rows("GetIpForwardTable2", layout.ROUTE, layout.AF_UNSPEC),
            self._rows("GetIpInterfaceTable", layout.INTERFACE, layout.AF_UNSPEC),
            self._neighbors(layout.AF_INET) + self._neighbors(layout.AF_INET6),
        )

    def _neighbors(self, family: int) -> bytes:
        """The neighbours of one family: a system without it refuses, and the watcher works without them."""
        try:
            return self._rows("GetIpNetTable2", layout.NEIGHBOR, family)
        except OSError:
            return b""

    def _rows(self, name: str, table: Layout, *families: int) -> bytes:
        found = c_void_p()
        error = getattr(self._tables, name)(*(c_uint16(family) for family in families), byref(found))
        if error in (layout.NOT_FOUND, layout.NOT_SUPPORTED):
            return b""
        if error or not found.value:
            raise OSError(f"{name}: error {error}")
        try:
            count = c_uint32.from_address(found.value).value
            return ctypes.string_at(found.value + layout.FIRST_ROW, count * table.size)
        finally:
            self._tables.FreeMibTable(found)

    @contextmanager
    def notifications(self, on_notification: OnNotification) -> Generator[None]:
        """Have every change called, and once at first to show that it works; raises OSError."""
        registered: list[tuple[Any, c_void_p]] = []
        try:
            for name, table in NOTIFICATIONS:
                callback, handle = _callback(table, on_notification), c_void_p()
                register = getattr(self._notifications, name)
                error = register(c_uint16(layout.AF_UNSPEC), callback, None, c_uint8(1), byref(handle))
                registered.append((callback, handle))
                if error:
                    raise OSError(f"{name}: error {error}")
            yield
        finally:
            for _, handle in registered:
                # It waits for callbacks that run, so it must not be called in one. They do not wait for this thread.
                if handle.value:
                    self._notifications.CancelMibChangeNotify2(handle)


def _callback(table: Layout, on_notification: OnNotification) -> Any:
    def called(context: int | None, row: int | None, kind: int) -> None:
        del context
        on_notification(table, ctypes.string_at(row, table.size) if row else b"", kind)

    return _Callback(called)


class IpHelperSource:
    """A notification is a wake-up, and shows a loss that was over before the tables were read.

    Windows counts no losses of a carrier: an IPv4 address or a default route that goes is one.
    """

    name = "iphlpapi"

    def __init__(self, chosen: Filter | None = None, peers: Peers = no_peers, helper: IpHelper | None = None) -> None:
        self._filter = chosen or Filter.default()
        self._peers = peers
        self._helper = helper
        self._woken = asyncio.Event()
        self._is_woken = False
        """Whether the loop will be woken already: a storm of notifications costs one wake-up per snapshot."""
        self._lost: deque[int] = deque()
        self._losses: Counter[int] = Counter()
        self._confirmed: set[str] = set()

    def wake(self) -> None:
        """Take a snapshot soon."""
        self._woken.set()

    async def watch(self) -> AsyncGenerator[Snapshot, None]:
        """The state now, then after every notification; several that come close together make one."""
        helper = self._helper or IpHelper()
        loop = asyncio.get_running_loop()
        with helper.notifications(self._noting(loop)):
            while True:
                # Before the tables are read: what comes later wakes again.
                self._woken.clear()
                self._is_woken = False
                taken_at = loop.time()
                tables = helper.tables()
                while self._lost:
                    self._losses[self._lost.popleft()] += 1
                snapshot = read_tables(tables, self._losses, self._filter, peer_addresses(self._peers))
                yield snapshot
                await self._until_woken(snapshot)
                await asyncio.sleep(max(0.0, taken_at + PAUSE - loop.time()))

    def _noting(self, loop: asyncio.AbstractEventLoop) -> OnNotification:
        def note(table: Layout, row: bytes, kind: int) -> None:
            self._confirmed.add(table.name)
            if (luid := lost_interface(table, row, kind)) is not None:
                self._lost.append(luid)
            if not self._is_woken and not loop.is_closed():
                self._is_woken = True
                loop.call_soon_threadsafe(self._woken.set)

        return note

    async def _until_woken(self, snapshot: Snapshot) -> None:
        timeout: float | None = UNCONFIRMED_INTERVAL
        if len(self._confirmed) == len(NOTIFICATIONS):
            known = {(one.index, one.address) for one in snapshot.neighbors}
            timeout = None if known.issuperset(gateways(snapshot.routes)) else UNKNOWN_INTERVAL
        try:
            async with asyncio.timeout(timeout):
                await self._woken.wait()
        except TimeoutError:
            return
