"""A checksum of what an event led to, by which a replay finds out that it decided otherwise."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any

from gossipcontrol.server.core import effect as effects
from gossipcontrol.server.core.effect import AnnounceRejoin, AnswerTrigger, AskPeer, Effect, StartRejoin


def checksum(found: Iterable[Effect], before: int = 0) -> int:
    """CRC-32 of effects, going on from that of others; what changed nothing, and so is not logged, does not count."""
    for one in found:
        write = _WRITERS.get(type(one))
        if write is not None:
            before = zlib.crc32(write(one).encode("utf-8", "surrogatepass"), before)
    return before


_DECISION = "%s\0%s\0%d %d %s %r"
"""By %, for that is the fastest way to write a tuple."""


def _write_answer(answer: AnswerTrigger) -> str:
    if answer.replayed:
        return ""
    decisions = "\n".join([_DECISION % one for one in answer.decisions])
    return f"{answer.total} {answer.is_rest} {decisions}"


_START = "%s %s\0%s\0%s %d %d %r %r"
_start = attrgetter("rejoin_id", "node_id", "store_id", "session_id", "attempt", "rung", "timeout", "delay")


def _write_start(start: StartRejoin) -> str:
    written = _START % _start(start)
    return written + "".join([f"\0{one.peer_id} {one.addresses}" for one in start.bootstrap])


_END = "%s %s\0%s\0%d %d %d %d %r %s"
_end = attrgetter("rejoin_id", "node_id", "store_id", "cause", "outcome", "rung", "attempts", "duration", "detail")


def _write_end(end: AnnounceRejoin) -> str:
    return _END % _end(end)


def _write_asked(asked: AskPeer) -> str:
    return f"{asked.asker_id}\0{asked.rejoin_id} {_DECISION % asked.decision}"


_WRITERS: dict[type[Any], Callable[[Any], str]] = {
    AnswerTrigger: _write_answer,
    StartRejoin: _write_start,
    effects.AcceptNode: repr,
    AnnounceRejoin: _write_end,
    AskPeer: _write_asked,
    effects.AdviseRestart: repr,
    effects.AnnounceRestart: repr,
    effects.ForgetSlots: repr,
}
"""Refusals have none: they change nothing."""
