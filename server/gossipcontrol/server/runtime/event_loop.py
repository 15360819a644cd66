"""The service's event loop, which takes all wake-ups of gRPC in one pass.

A thread of grpc.aio collects what happened and writes one byte to a socket for each event. The event loop reads one
byte in a pass and handles all that was collected. While more than one event comes in a pass, bytes are left over: each
costs an empty pass, and once the socket is full (278 bytes) the thread waits with its next event until enough passes
have read it empty. In an overloaded service every step of a call waited for that, and a new call for seconds: agents
that give up after five were never served. So all bytes but the one that gRPC reads are taken before it does.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

TAKEN = 4096
"""Most bytes taken in a pass: more than the socket holds."""
_taken = bytearray(TAKEN)
"""Nobody reads what was taken."""


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Uvloop's loop where it is installed: it serves about a tenth more calls."""
    try:
        import uvloop
    except ImportError:
        return take_wake_ups(asyncio.new_event_loop())
    return take_wake_ups(uvloop.new_event_loop())


def take_wake_ups(loop: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop:
    """Have this loop take all wake-ups of gRPC in one pass; returns it."""
    inner = loop.add_reader

    def add_reader(fd: Any, callback: Callable[..., Any], *args: Any) -> None:
        is_wake_up = isinstance(fd, socket.socket) and _is_of_grpc(callback)
        inner(fd, partial(_take_and_call, fd, callback) if is_wake_up else callback, *args)

    loop.add_reader = add_reader  # type: ignore[assignment, method-assign]
    return loop


def _is_of_grpc(callback: Any) -> bool:
    """Whether this is a method, perhaps with arguments, of something that gRPC's extension module made."""
    owner = getattr(getattr(callback, "func", callback), "__self__", None)
    return type(owner).__module__.startswith("grpc.")


def _take_and_call(wake_ups: socket.socket, callback: Callable[..., Any], *args: Any) -> None:
    waiting = wake_ups.recv_into(_taken, TAKEN, socket.MSG_PEEK)
    if waiting > 1:
        wake_ups.recv_into(_taken, waiting - 1)
    callback(*args)
