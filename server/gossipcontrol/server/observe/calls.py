"""Calls in the log: each one at the level debug, and refused ones at info, a few per caller."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import grpc
from gossipcontrol.server.errors import GossipControlError, Stopping
from gossipcontrol.server.observe.log import Logger

REFUSAL_BURST = 5
"""Refusals of one caller that have lines of their own in a row."""
REFUSAL_INTERVAL = 10.0
"""Seconds after which a caller may have one more line."""
DENIAL_INTERVAL = 60.0
"""Seconds between two lines about denied calls of one identity."""
CALLERS = 1024
"""Callers whose lines are counted; beyond it the one that was refused longest ago is forgotten."""


def readable_peer(peer: str) -> str:
    """The name of a connection with gRPC's escapes undone: ``ipv6:[::1]:4711``."""
    return unquote(peer) if "%" in peer else peer


def _host(peer: str) -> str:
    """The address of a connection without its port."""
    return peer.rpartition(":")[0] if peer.startswith(("ipv4:", "ipv6:")) else peer


@dataclass(slots=True)
class _Denied:
    """The last line about denied calls of one identity."""

    at: float
    left_out: int = 0


@dataclass(slots=True)
class _Caller:
    """The lines that one caller may still have."""

    lines: float
    at: float
    left_out: int = 0


class CallLog:
    """Writes lines about calls. ``clock`` counts seconds."""

    def __init__(self, log: Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._callers: OrderedDict[str, _Caller] = OrderedDict()
        self.denials: OrderedDict[str, _Denied] = OrderedDict()
        """By identity, or by address where there is none."""

    @property
    def shows_calls(self) -> bool:
        """Whether each call has a line."""
        return self._log.is_enabled_for(logging.DEBUG)

    def ended(self, method: str, peer: str, request: Any, code: grpc.StatusCode, seconds: float) -> None:
        """Log one call that ended; a stream of requests has neither id nor size."""
        size = getattr(request, "ByteSize", None)
        self._log.debug(
            "call",
            rpc=method,
            caller=readable_peer(peer),
            request=getattr(request, "request_id", ""),
            bytes=size() if size else None,
            seconds=round(seconds, 6),
            code=code.name,
        )

    def refused(self, method: str, peer: str, error: GossipControlError) -> None:
        """Log one refused call with its reason, unless its caller has had many such lines."""
        if isinstance(error, Stopping):
            return
        caller = self._caller(peer)
        if caller.lines < 1:
            caller.left_out += 1
            return
        caller.lines -= 1
        left_out, caller.left_out = caller.left_out, 0
        more = {"left_out": left_out} if left_out else {}
        self._log.info(
            "call refused", rpc=method, caller=readable_peer(peer), code=error.code.name, reason=str(error), **more
        )

    def denied(self, method: str, peer: str, identity: str, error: GossipControlError) -> None:
        """Log one denied call, once a minute for an identity, or for an address where the identity is not known."""
        now, name = self._clock(), f"identity {identity}" if identity else _host(peer)
        last = self.denials.get(name)
        if last is not None and now - last.at < DENIAL_INTERVAL:
            last.left_out += 1
            return
        left_out = last.left_out if last else 0
        self.denials[name] = _Denied(now)
        self.denials.move_to_end(name)
        if len(self.denials) > CALLERS:
            self.denials.popitem(last=False)
        who = {"identity": identity} if identity else {}
        more = {"left_out": left_out} if left_out else {}
        self._log.warning(
            "call denied",
            rpc=method,
            **who,
            caller=readable_peer(peer),
            code=error.code.name,
            reason=str(error),
            **more,
        )

    def _caller(self, peer: str) -> _Caller:
        """The caller of this name, all connections from one address together: a new port makes no new caller."""
        name = _host(peer)
        now = self._clock()
        caller = self._callers.setdefault(name, _Caller(REFUSAL_BURST, now))
        self._callers.move_to_end(name)
        if len(self._callers) > CALLERS:
            self._callers.popitem(last=False)
        caller.lines = min(REFUSAL_BURST, caller.lines + (now - caller.at) / REFUSAL_INTERVAL)
        caller.at = now
        return caller
