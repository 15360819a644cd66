"""A small web server with bounds, whose trouble is never that of gRPC."""

from __future__ import annotations

import errno
import socket
import ssl
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from gossipcontrol.server.errors import StartError
from gossipcontrol.server.rpc.listener import describe_error

CONNECTIONS = 16
"""Most connections at once; each has a thread and a descriptor. One more ends the oldest."""
IDLE_TIME = 10.0
"""Seconds for which a connection may send or take nothing."""
ROOM_TIME = 1.0
"""Seconds that the oldest connection gets to end; then the new one is refused."""
NO_DESCRIPTOR_WAIT = 0.2
"""Seconds between two tries to accept while the process has no descriptor left."""
REQUEST_BYTES = 32 * 1024
"""Most bytes of a request line with its headers."""
STREAMS = 8
"""Most connections that stay open for events; they have no place among the others."""

StartResponse = Callable[[str, list[tuple[str, str]]], object]
Application = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]
STREAM = "gossipcontrol.become_stream"
"""Key of the environment of a request: called, it takes the connection for a stream; returns whether there is room."""


def open_pages(address: str, application: Application, context: ssl.SSLContext | None = None) -> PageServer:
    """Serve an application at ``metrics.address``; raises StartError."""
    host, _, port = address.rpartition(":")
    try:
        return PageServer(host.strip("[]"), int(port), application, context)
    except OSError as error:
        raise StartError(f"metrics.address {address}: {describe_error(error, int(port))}") from error


class PageServer:
    """Serves an application at ``host:port`` from its construction to ``close``, with TLS where there is a context.

    Raises OSError.
    """

    def __init__(self, host: str, port: int, application: Application, context: ssl.SSLContext | None = None) -> None:
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        self._server = _Server(family, (str(where[0]), int(where[1])), context)
        self._server.set_app(application)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name="pages", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; blocks for half a second at most."""
        self._server.shutdown()
        self._server.server_close()
        self._server.end_all()
        self._thread.join()

    def connections(self) -> tuple[int, int]:
        """(requests, streams) that are being served."""
        return self._server.connections()


class _BoundedReader:
    """Reads lines of a request, of which all together have a bound; raises OSError beyond it."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._left = REQUEST_BYTES

    def readline(self, size: int = -1) -> bytes:
        """The next line, or its first ``size`` bytes."""
        if self._left <= 0:
            raise OSError("the request is too large")
        line: bytes = self._file.readline(min(size, self._left) if size >= 0 else self._left)
        self._left -= len(line)
        return line

    def close(self) -> None:
        """Close what is read."""
        self._file.close()


class _Handler(WSGIRequestHandler):
    """One request, then the connection ends (HTTP/1.0)."""

    timeout = IDLE_TIME

    def setup(self) -> None:
        """Shake hands, where there is TLS, and read no more than a request may have; raises OSError."""
        super().setup()
        if isinstance(self.connection, ssl.SSLSocket):
            self.connection.do_handshake()
        self.rfile: Any = _BoundedReader(self.rfile)

    def get_environ(self) -> dict[str, Any]:
        """The request, and how it becomes a stream."""
        server: Any = self.server
        return {**super().get_environ(), STREAM: lambda: server.become_stream(self.request)}

    def address_string(self) -> str:
        """The client's address, without asking the name service."""
        return str(self.client_address[0])

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: every scrape would be a line."""

    def handle(self) -> None:
        """Serve; a connection that is slow, gone or ended by the server is no fault."""
        with suppress(OSError):
            super().handle()


class _Server(ThreadingMixIn, WSGIServer):
    """A thread per connection, and a bounded number of connections."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(
        self, family: socket.AddressFamily, where: tuple[str, int], context: ssl.SSLContext | None = None
    ) -> None:
        self.address_family = family
        self._context = context
        self._room = threading.BoundedSemaphore(CONNECTIONS)
        self._open: OrderedDict[int, socket.socket] = OrderedDict()
        self._streams: dict[int, socket.socket] = {}
        self._lock = threading.Lock()
        super().__init__(where, _Handler)

    def server_bind(self) -> None:
        """Bind without asking the name service for the host's name, as the base class would."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept; without a descriptor the connection waits, and this thread does not spin."""
        try:
            request, address = super().get_request()
            if self._context is not None:
                # The handshake waits for the thread of the connection, or a silent client would hold up all others.
                request = self._context.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
            return request, address
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                time.sleep(NO_DESCRIPTOR_WAIT)
            raise

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Make room by ending the oldest connection: a scrape gets through however many others idle."""
        del client_address
        if not self._room.acquire(blocking=False):
            self._end_oldest()
            if not self._room.acquire(timeout=ROOM_TIME):
                return False
        with self._lock:
            self._open[request.fileno()] = request
        return True

    def shutdown_request(self, request: Any) -> None:
        """Close a connection, and give its place back if it had one."""
        with self._lock:
            self._streams.pop(request.fileno(), None)
            had_place = self._open.pop(request.fileno(), None) is not None
        super().shutdown_request(request)
        if had_place:
            self._room.release()

    def become_stream(self, request: Any) -> bool:
        """Give a connection's place back, because it stays; False: too many stay already."""
        with self._lock:
            if len(self._streams) >= STREAMS or request.fileno() not in self._open:
                return False
            self._streams[request.fileno()] = self._open.pop(request.fileno())
        self._room.release()
        return True

    def connections(self) -> tuple[int, int]:
        """(requests, streams) that are being served."""
        with self._lock:
            return len(self._open), len(self._streams)

    def end_all(self) -> None:
        """End every connection; their threads follow."""
        with self._lock:
            connections = [*self._open.values(), *self._streams.values()]
        for connection in connections:
            _end(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that fails is its client's matter."""

    def _end_oldest(self) -> None:
        with self._lock:
            oldest = next(iter(self._open.values()), None)
        if oldest is not None:
            _end(oldest)


def _end(connection: socket.socket) -> None:
    """Wake the thread that waits for a connection, which then closes it."""
    with suppress(OSError):
        # Not that of TLS, which takes the connection from under the thread that reads.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
