"""What macOS and the BSDs list of the network through sysctl(3), as bytes."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Protocol

from gossipcontrol.watch.route_layout import AF_INET, CTL_NET, NET_RT_FLAGS, RTF_LLINFO, Layout

MOST_BYTES = 1024 * 1024
"""Longest list that is read: 6,000 routes. With more, reading them again and again would cost too much."""
TRIES = 10
"""Most tries for a list that grows while it is read."""


class Lists(Protocol):
    """The lists of the kernel; every method raises OSError when it refuses."""

    def links(self) -> bytes:
        """Interfaces, each with its addresses."""
        ...

    def routes(self) -> bytes:
        """The table of routes."""
        ...

    def neighbors(self) -> bytes:
        """The hosts on the links."""
        ...


class Sysctl:
    """Asks the kernel through the C library, or another library with its function ``sysctl``."""

    def __init__(self, layout: Layout, library: str | None = None) -> None:
        self._layout = layout
        self._sysctl = ctypes.CDLL(library, use_errno=True).sysctl
        size = ctypes.POINTER(ctypes.c_size_t)
        mib = ctypes.POINTER(ctypes.c_int)
        self._sysctl.argtypes = (mib, ctypes.c_uint, ctypes.c_void_p, size, ctypes.c_void_p, ctypes.c_size_t)
        self._sysctl.restype = ctypes.c_int

    def links(self) -> bytes:
        """Interfaces, each with its addresses."""
        return self._list(0, self._layout.list_links, 0)

    def routes(self) -> bytes:
        """The table of routes; raises OSError also for one that is too long to be read."""
        return self._list(0, self._layout.list_routes, 0)

    def neighbors(self) -> bytes:
        """The hosts on the links, of both families."""
        families = (AF_INET, self._layout.inet6)
        return b"".join(self._list(family, NET_RT_FLAGS, RTF_LLINFO) for family in families)

    def _list(self, family: int, question: int, argument: int) -> bytes:
        numbers = (CTL_NET, self._layout.protocol, 0, family, question, argument)
        mib = (ctypes.c_int * len(numbers))(*numbers)
        for _ in range(TRIES):
            size = ctypes.c_size_t(0)
            if self._sysctl(mib, len(numbers), None, ctypes.byref(size), None, 0):
                raise _error()
            if size.value > MOST_BYTES:
                raise OSError(errno.E2BIG, f"a list of {size.value} bytes is too long")
            # What is added between the two calls must fit too.
            room = ctypes.c_size_t(size.value + size.value // 4 + 1024)
            buffer = ctypes.create_string_buffer(room.value)
            if not self._sysctl(mib, len(numbers), buffer, ctypes.byref(room), None, 0):
                return buffer.raw[: room.value]
            if ctypes.get_errno() != errno.ENOMEM:
                raise _error()
        raise OSError(errno.ENOMEM, "a list grew faster than it could be read")


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
