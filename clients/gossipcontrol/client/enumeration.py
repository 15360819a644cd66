"""The enumerations of the protocol, open to numbers of a newer service."""

from __future__ import annotations

import logging
from collections import Counter
from enum import IntEnum
from typing import Self

MOST_COUNTED = 1000
"""Most different unrecognized numbers that are counted; a service that invents them must not fill the memory."""
_logger = logging.getLogger("gossipcontrol.client")
_counts: Counter[str] = Counter()


def unrecognized_numbers() -> dict[str, int]:
    """How often each number came that this version does not know, such as ``{"PeerState 9": 3}``."""
    return dict(_counts)


class OpenEnum(IntEnum):
    """A number of the protocol; ``str`` gives its word.

    A number that only a newer service knows makes a member like ``<PeerState.UNRECOGNIZED_9: 9>``, is logged once and
    counted (``unrecognized_numbers``). It never raises.
    """

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, int):
            return None
        member = int.__new__(cls, value)
        member._name_ = f"UNRECOGNIZED_{value}" if value else "UNSPECIFIED"
        member._value_ = value
        if value:
            _count(f"{cls.__name__} {value}")
        return member

    @property
    def recognized(self) -> bool:
        """Whether this version knows the number."""
        return self._name_ in type(self).__members__

    def __str__(self) -> str:
        return self._name_.lower().replace("_", "-")

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


def _count(key: str) -> None:
    if key not in _counts:
        if len(_counts) >= MOST_COUNTED:
            return
        _logger.warning("the service sent %s, which this version does not know", key)
    _counts[key] += 1


class PeerState(OpenEnum):
    """Presence of a peer in a store, fused over all observers."""

    ONLINE = 1
    SUSPECT = 2
    OFFLINE = 3
    ASLEEP = 4
    """It announced that it goes to sleep."""
    LEFT = 5
    """It said goodbye."""
    UNKNOWN = 6
    """Named, but never heard."""


class ReplicaRole(OpenEnum):
    """What a replica of the service does."""

    OWNER = 1
    """It decides and answers."""
    STANDBY = 2
    REPLACED = 3
    """It was the owner before, and has died or not ended yet."""


class Cause(OpenEnum):
    """Why a rejoin is wanted."""

    MANUAL = 1
    NETWORK_CHANGE = 2
    RESUME = 3
    APP_FOREGROUND = 4
    SUSPICION = 5
    ISOLATED = 6
    OUTBOUND_ROT = 7
    INBOUND_ROT = 8
    PARTITION = 9
    ASKED = 10
    """Another node rejoined in vain: this one is asked to rejoin towards it."""


class DecisionKind(OpenEnum):
    """What was decided about one trigger for one (node, store). None of these is a failure."""

    STARTED = 1
    COALESCED = 2
    """A rejoin that waits already covers the trigger."""
    SCHEDULED = 3
    DUPLICATE = 4
    PARKED = 5
    """The rejoin starts when an agent of the node attaches, or expires."""
    SKIPPED = 6


class Rule(OpenEnum):
    """The rule that decided about a trigger."""

    LEADING_EDGE = 1
    WINDOW = 2
    BACKOFF = 3
    GLOBAL_LIMIT = 4
    NOT_ATTACHED = 5
    UNKNOWN_NODE = 6
    UNKNOWN_HOST = 7
    UNKNOWN_STORE = 8
    KNOWN_GENERATION = 9
    FRESH_NEIGHBORS = 10


class Outcome(OpenEnum):
    """Where a rejoin stands, or how it ended."""

    WAITING = 1
    PARKED = 2
    RUNNING = 3
    VERIFIED = 4
    UNVERIFIED = 5
    FAILED = 6
    EXPIRED = 7
    SKIPPED = 8
    SPLIT = 9
    """Rejoins of each (node, store) that attached run in its place."""


class Rung(OpenEnum):
    """What an agent is asked to do; the service tries a higher rung when a lower one could not be verified."""

    REJOIN = 1
    REBIND = 2
    """Tell the transport that the network changed, then rejoin."""
    RESUBSCRIBE = 3
    """Leave the topic and subscribe again."""
    RESTART_ADVISED = 4
    ASK_PEER = 5
    """Another node is asked to rejoin towards this one; the last that is tried before a restart is advised."""


class Capability(OpenEnum):
    """What an agent can do beyond ``Rung.REJOIN``."""

    REBIND = 1
    RESUBSCRIBE = 2
    SYNC_WITH_PEER = 3


class ChangeKind(OpenEnum):
    """What happened to a host."""

    CHANGED = 1
    """Its addresses, routes or links changed."""
    RESUMED = 2
    SLEEPING = 3
    """It is about to sleep; starts no rejoin."""
    FOREGROUND = 4
    """The application came to the foreground."""

    @property
    def label(self) -> str:
        """For people."""
        return _LABELS.get(self, str(self))


_LABELS = {
    ChangeKind.CHANGED: "network change",
    ChangeKind.RESUMED: "resume",
    ChangeKind.SLEEPING: "sleep",
    ChangeKind.FOREGROUND: "foreground",
}


class Platform(OpenEnum):
    """The operating system of a watcher."""

    LINUX = 1
    MACOS = 2
    WINDOWS = 3
    IOS = 4
    ANDROID = 5
