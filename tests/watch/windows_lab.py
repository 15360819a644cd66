"""Libraries of Windows played by Python: they give tables, and call back from a thread of their own."""

from __future__ import annotations

import ctypes
import threading
from ctypes import c_uint32, c_void_p
from dataclasses import dataclass, field
from typing import Any

from gossipcontrol.watch import windows_layout as layout
from gossipcontrol.watch.windows import NOTIFICATIONS
from gossipcontrol.watch.windows_tables import Tables

ACCESS_DENIED = 5


def in_a_thread(call: Any, *arguments: Any) -> Any:
    """What a call returns that is made in another thread, as Windows makes it."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(call(*arguments)))
    thread.start()
    thread.join()
    return results[0]


@dataclass
class FakeIpHelper:
    """iphlpapi.dll: its tables are those that a test sets."""

    now: Tables
    confirms: bool = True
    """Whether each notification is called once at first."""
    errors: dict[str, int] = field(default_factory=dict[str, int])
    """What a function returns instead of doing anything."""
    callbacks: dict[str, Any] = field(default_factory=dict[str, Any])
    kept: list[Any] = field(default_factory=list[Any])
    """Tables that were given and not freed."""

    def GetIfTable2(self, found: Any) -> int:
        return self._give("GetIfTable2", self.now.links, layout.LINK, found)

    def GetUnicastIpAddressTable(self, family: Any, found: Any) -> int:
        return self._give("GetUnicastIpAddressTable", self.now.addresses, layout.ADDRESS, found)

    def GetIpForwardTable2(self, family: Any, found: Any) -> int:
        return self._give("GetIpForwardTable2", self.now.routes, layout.ROUTE, found)

    def GetIpInterfaceTable(self, family: Any, found: Any) -> int:
        return self._give("GetIpInterfaceTable", self.now.interfaces, layout.INTERFACE, found)

    def GetIpNetTable2(self, family: Any, found: Any) -> int:
        rows = self.now.neighbors if family.value == layout.AF_INET else b""
        return self._give("GetIpNetTable2", rows, layout.NEIGHBOR, found)

    def FreeMibTable(self, found: Any) -> None:
        self.kept = [one for one in self.kept if ctypes.addressof(one) != found.value]

    def NotifyIpInterfaceChange(self, *arguments: Any) -> int:
        return self._register(0, *arguments)

    def NotifyUnicastIpAddressChange(self, *arguments: Any) -> int:
        return self._register(1, *arguments)

    def NotifyRouteChange2(self, *arguments: Any) -> int:
        return self._register(2, *arguments)

    def CancelMibChangeNotify2(self, handle: c_void_p) -> int:
        del self.callbacks[NOTIFICATIONS[(handle.value or 0) - 1][0]]
        return 0

    def notify(self, table: layout.Layout, row: bytes, kind: int) -> None:
        """Call back."""
        [name] = [name for name, one in NOTIFICATIONS if one is table]
        in_a_thread(self.callbacks[name], None, ctypes.create_string_buffer(row, len(row)), kind)

    def _register(self, number: int, family: Any, callback: Any, context: Any, initial: Any, handle: Any) -> int:
        del family, context
        name = NOTIFICATIONS[number][0]
        if name in self.errors:
            return self.errors[name]
        self.callbacks[name] = callback
        handle._obj.value = number + 1
        assert initial.value == 1
        if self.confirms:
            in_a_thread(callback, None, None, layout.INITIAL)
        return 0

    def _give(self, name: str, rows: bytes, table: layout.Layout, found: Any) -> int:
        if name in self.errors:
            return self.errors[name]
        count = len(rows) // table.size
        buffer = ctypes.create_string_buffer(bytes(c_uint32(count)) + bytes(4) + rows)
        self.kept.append(buffer)
        found._obj.value = ctypes.addressof(buffer)
        return 0


@dataclass
class FakePower:
    """powrprof.dll: it calls whoever is registered."""

    error: int = 0
    registered: Any = None

    def PowerRegisterSuspendResumeNotification(self, flags: int, subscription: Any, handle: Any) -> int:
        assert flags == layout.DEVICE_NOTIFY_CALLBACK
        if self.error:
            return self.error
        kind = ctypes.CFUNCTYPE(c_uint32, c_void_p, c_uint32, c_void_p)
        self.registered = kind(subscription._obj.callback)
        handle._obj.value = 1
        return 0

    def PowerUnregisterSuspendResumeNotification(self, handle: c_void_p) -> int:
        assert handle.value == 1
        self.registered = None
        return 0
