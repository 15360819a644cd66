"""A host whose kernel is lists that a test changes, and the other end of its routing socket."""

from __future__ import annotations

import errno
import socket

from gossipcontrol.watch.route_layout import RTM_ADD, RTM_DELETE, Layout
from gossipcontrol.watch.route_socket import RouteSocketSource

from tests.watch.route_builder import address_message, dgram_pair, laptop, route_message


class Host:
    """A kernel, and the end of the pair at which it speaks."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.kernel = laptop(layout)
        self.opened = 0
        self.refuses = False
        self.speaker, self._listener = dgram_pair()

    def open(self) -> socket.socket:
        self.opened += 1
        if self.refuses:
            raise OSError(errno.EMFILE, "no descriptors")
        if self.opened > 1:
            self.speaker.close()
            self.speaker, self._listener = dgram_pair()
        return self._listener

    def source(self) -> RouteSocketSource:
        return RouteSocketSource(layout=self.layout, lists=self.kernel, opened=self.open)

    def tell(self, *messages: bytes) -> None:
        for one in messages:
            self.speaker.send(one)

    def delete_default(self) -> None:
        gone = [one for one in self.kernel.table if one != self.default]
        self.kernel.table = gone
        self.tell(route_message(self.layout, RTM_DELETE, 4, "0.0.0.0/0", "192.168.1.1"))

    def add_default(self) -> None:
        self.kernel.table.insert(0, self.default)
        self.tell(route_message(self.layout, RTM_ADD, 4, "0.0.0.0/0", "192.168.1.1"))

    @property
    def default(self) -> bytes:
        return self.kernel.route(4, "0.0.0.0/0", "192.168.1.1")

    def move(self, address: str) -> None:
        old = self.kernel.addresses[1]
        self.kernel.addresses[1] = (4, address, 24)
        self.tell(
            address_message(self.layout, *old, lost=True),
            address_message(self.layout, 4, address, 24),
        )

    def close(self) -> None:
        self.speaker.close()
        self._listener.close()
