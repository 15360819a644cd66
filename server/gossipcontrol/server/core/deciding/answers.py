"""What was decided before: request ids and network events are each answered once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from zlib import crc32

from gossipcontrol.server.core.codec import Plain
from gossipcontrol.server.core.deciding.dedupe import DedupeCache
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.core.decision import Cause, Decision
from gossipcontrol.server.core.event import NetworkChanged, RejoinRequested

REMEMBERED_DECISIONS = 1000
"""Most decisions remembered with a request id or a generation."""


class Answer(NamedTuple):
    """What a request was answered, and what it asked."""

    cause: Cause | None
    decisions: tuple[Decision, ...]
    digest: str = ""
    """Of the request; empty in what earlier versions saved."""

    def fits(self, digest: str) -> bool:
        """Whether it answers this request, not another one that came with the same id."""
        return self.digest in ("", digest)


GenerationKey = tuple[bool, str, str, int]
"""Whether of a host, the host or node, its boot as its reporter knows it, its generation."""


class Answers:
    """Remembers the answer to each request id, and the decisions about each network event, for a bounded time."""

    def __init__(self, parameters: Parameters) -> None:
        room = parameters.decision_limit
        self._requests: DedupeCache[str, Answer]
        self._requests = DedupeCache(
            parameters.request_limit, parameters.request_memory, room, lambda answer: len(answer.decisions)
        )
        self._generations: DedupeCache[GenerationKey, tuple[Decision, ...]]
        self._generations = DedupeCache(parameters.generation_limit, parameters.generation_memory, room, len)

    @property
    def count(self) -> int:
        """Request ids and network events that are remembered."""
        return len(self._requests) + len(self._generations)

    @property
    def decisions(self) -> int:
        """Decisions that are remembered with them."""
        return self._requests.taken + self._generations.taken

    def of_request(self, request_id: str, now: float) -> Answer | None:
        """The recorded answer to a request id, if it is known."""
        return self._requests.get(request_id, now) if request_id else None

    def remember_request(self, request_id: str, answer: Answer, now: float) -> None:
        """Record the answer to a request; one without an id is not remembered."""
        if request_id:
            kept = answer._replace(decisions=answer.decisions[:REMEMBERED_DECISIONS])
            self._requests.put(request_id, kept, now)

    def of_change(self, event: NetworkChanged, node_id: str, now: float) -> tuple[Decision, ...] | None:
        """What was decided about this network event before: of this node, or of the host when none is named."""
        return self._generations.get(_key(event, node_id), now) if event.generation else None

    def remember_change(self, event: NetworkChanged, node_id: str, decisions: Sequence[Decision], now: float) -> None:
        """Record the decisions about a network event; one without a generation is not remembered."""
        if event.generation:
            self._generations.put(_key(event, node_id), tuple(decisions[:REMEMBERED_DECISIONS]), now)

    def save(self) -> Plain:
        """What is remembered of requests and generations."""
        return {"requests": self._requests.save(), "generations": self._generations.save()}

    def load(self, plain: Plain) -> None:
        """Take it over."""
        self._requests.load(plain["requests"], str, Answer)
        self._generations.load(plain["generations"], GenerationKey, tuple[Decision, ...])


def digest_of(event: RejoinRequested | NetworkChanged) -> str:
    """Tells two requests apart that come with one id."""
    if isinstance(event, RejoinRequested):
        asked = f"rejoin {event.node_id!r} {event.store_ids!r} {event.cause:d}"
    else:
        asked = f"change {event.host_id!r} {event.node_ids!r} {event.kind:d} {event.boot_id!r} {event.generation}"
    return f"{crc32(asked.encode()):08x}"


def _key(event: NetworkChanged, node_id: str) -> GenerationKey:
    # Each identity counts for itself: nobody can claim numbers of a boot before its watcher gives them.
    boot = f"{len(event.speaker)} {event.speaker} {event.boot_id}" if event.speaker else event.boot_id
    return not node_id, node_id or event.host_id, boot, event.generation
