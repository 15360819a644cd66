"""macOS and the BSDs: a routing socket shows that something changed; sysctl(3) lists what is there now."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress

from gossipcontrol.watch.change import Snapshot
from gossipcontrol.watch.route_layout import Layout, layout_of
from gossipcontrol.watch.route_message import MalformedError, hear
from gossipcontrol.watch.route_table import take_snapshot
from gossipcontrol.watch.scope import Filter, choose_links
from gossipcontrol.watch.source import Peers, no_peers, peer_addresses
from gossipcontrol.watch.sysctl import Lists, Sysctl

PAUSE = 0.05
"""Shortest time between two snapshots, in seconds."""
SHARE = 10
"""A snapshot that took long is followed by a pause of so many times as long."""
EVENT_BUFFER = 256 * 1024
"""Bytes of unread messages that the kernel keeps."""
MESSAGE_BYTES = 64 * 1024
MOST_READ = 256
"""Most messages read in one go; what is left wakes the reader again."""
FIRST_RETRY, LONGEST_RETRY = 0.05, 30.0
"""Seconds before a socket that broke is opened again; the time doubles with each failure."""


class RouteSocketSource:
    """A message is a wake-up, and counts what was lost: these systems have no count of lost carriers.

    Routes are listed and not asked for: the answer to a question on a routing socket goes to every such socket of the
    host, so that each look would wake this and every other listener, and it would not show the ways of macOS that are
    scoped to an interface.
    """

    name = "route socket"

    def __init__(
        self,
        chosen: Filter | None = None,
        peers: Peers = no_peers,
        *,
        layout: Layout | None = None,
        lists: Lists | None = None,
        opened: Callable[[], socket.socket] | None = None,
        on_message: Callable[[bytes], None] = lambda message: None,
    ) -> None:
        self._filter = chosen or Filter.default()
        self._peers = peers
        self._layout = layout or layout_of(sys.platform)
        self._lists = lists
        self._opened = opened
        self._on_message = on_message
        self._woken = asyncio.Event()
        self._losses: Counter[int] = Counter()
        self._uncounted: frozenset[int] = frozenset()
        self._failures = 0

    def wake(self) -> None:
        """Take a snapshot soon."""
        self._woken.set()

    async def watch(self) -> AsyncGenerator[Snapshot, None]:
        """The state now, then after every message that may matter; several that come close together make one.

        Raises OSError where there is no routing socket, or where the lists cannot be read.
        """
        layout = self._layout
        if layout is None or sys.maxsize <= 1 << 32:
            raise OSError(errno.ENOTSUP, f"no layout of routing messages is known for {sys.platform}")
        lists = self._lists or Sysctl(layout)
        loop = asyncio.get_running_loop()
        listener: socket.socket | None = self._open(layout)
        try:
            while True:
                # Before the snapshot: what comes later wakes the reader again.
                if listener is not None and not self._read(listener, layout):
                    self._close(listener)
                    listener = None
                self._woken.clear()
                taken_at = loop.time()
                snapshot = self._take(lists, layout)
                pause = max(PAUSE, SHARE * (loop.time() - taken_at))
                yield snapshot
                listener = await self._until_woken(listener, layout)
                await asyncio.sleep(max(0.0, taken_at + pause - loop.time()))
        finally:
            if listener is not None:
                listener.close()

    def _open(self, layout: Layout) -> socket.socket:
        listener = self._opened() if self._opened else socket.socket(layout.protocol, socket.SOCK_RAW, 0)
        try:
            listener.setblocking(False)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, EVENT_BUFFER)
        except OSError:
            listener.close()
            raise
        return listener

    def _close(self, listener: socket.socket) -> None:
        listener.close()
        self._failures += 1

    def _take(self, lists: Lists, layout: Layout) -> Snapshot:
        try:
            snapshot = take_snapshot(lists, layout, self._losses, peer_addresses(self._peers))
        except ValueError as error:
            raise OSError(errno.EPROTO, f"the lists of this system are not as expected: {error}") from error
        counted = choose_links(snapshot, self._filter)[0]
        self._uncounted = frozenset(link.index for link in snapshot.links) - counted.keys()
        return snapshot

    def _read(self, listener: socket.socket, layout: Layout) -> bool:
        """Read what is there, note losses, and wake if it may matter; returns False for a socket that is broken."""
        for _ in range(MOST_READ):
            try:
                if not (message := listener.recv(MESSAGE_BYTES)):
                    return False
                self._on_message(message)
                heard = hear(message, layout, self._uncounted)
            except BlockingIOError:
                break
            except MalformedError:
                self._woken.set()
                continue
            except OSError as error:
                # The kernel dropped messages, so that anything may have changed; or the socket is of no use any more.
                self._woken.set()
                if error.errno != errno.ENOBUFS:
                    return False
                continue
            self._failures = 0
            self._losses.update(heard.lost)
            if heard.woken:
                self._woken.set()
        return True

    async def _until_woken(self, listener: socket.socket | None, layout: Layout) -> socket.socket | None:
        """Wait for a message that may matter; returns the socket to go on with, which is another if this one broke."""
        if listener is None:
            return await self._reopened(layout)
        loop = asyncio.get_running_loop()
        broken = False

        def read() -> None:
            nonlocal broken
            if not self._read(listener, layout):
                broken = True
                # At once: a broken socket is readable for good.
                loop.remove_reader(listener)

        loop.add_reader(listener, read)
        try:
            await self._woken.wait()
        finally:
            loop.remove_reader(listener)
        if broken:
            self._close(listener)
        return None if broken else listener

    async def _reopened(self, layout: Layout) -> socket.socket | None:
        """A new socket after a while; None where there is none yet, or when something else wants a look meanwhile."""
        wait = min(LONGEST_RETRY, FIRST_RETRY * 2 ** min(self._failures - 1, 20))
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._woken.wait()
                return None
        try:
            return self._open(layout)
        except OSError:
            self._failures += 1
            return None
