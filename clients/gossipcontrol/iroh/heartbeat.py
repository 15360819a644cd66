"""The reference node's messages: numbered heartbeats, and the newest known of each author."""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

AUTHORS = 1000
"""Most authors remembered in one store; the one longest without a newer heartbeat is dropped first."""
HIGHEST = 2**53
"""Lives and numbers below this are the same in every JSON parser."""

_KEY = re.compile("[0-9a-f]{64}").fullmatch
"""A node's id: its public key, as the wheel writes it."""

Position: TypeAlias = tuple[int, int]
"""Life and number: a node that restarts begins a new, greater life, and counts from 1."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """One message: its author's node id, the author's life (milliseconds since 1970 at its start), its number."""

    author: str
    life: int
    number: int

    def message(self, size: int = 0) -> bytes:
        """The message, padded to this size."""
        content = {"author": self.author, "life": self.life, "count": self.number}
        return json.dumps(content).encode().ljust(size)


def parse(message: bytes) -> Heartbeat | None:
    """The heartbeat in a message; None when it is none."""
    try:
        content = json.loads(message)
    except (ValueError, RecursionError):
        return None
    match content:
        case {"author": str() as author, "life": int() as life, "count": int() as number} if _KEY(author):
            return Heartbeat(author, life, number) if _whole(life) and _whole(number) else None
        case _:
            return None


class Newest:
    """Per author of a store the newest heartbeat that is known: what two nodes make equal in a sync."""

    def __init__(self) -> None:
        self._newest: OrderedDict[str, Position] = OrderedDict()

    def learn(self, author: str, position: Position) -> bool:
        """Store a heartbeat if it is newer; returns whether it was."""
        if position <= self._newest.get(author, (-1, -1)):
            return False
        self._newest[author] = position
        self._newest.move_to_end(author)
        if len(self._newest) > AUTHORS:
            self._newest.popitem(last=False)
        return True

    def merge(self, others: Mapping[str, Position]) -> int:
        """Store those that are newer; returns how many were."""
        return sum(self.learn(author, position) for author, position in others.items())

    def known(self) -> dict[str, Position]:
        """All of it."""
        return dict(self._newest)


def positions(content: Any) -> dict[str, Position]:
    """What another node sent as its newest heartbeats; raises ValueError that says what is wrong with it."""
    if not isinstance(content, dict) or len(beats := cast("dict[str, Any]", content)) > AUTHORS:
        raise ValueError(f"heartbeats must be an object of at most {AUTHORS} authors")
    checked: dict[str, Position] = {}
    for author, position in beats.items():
        if not _KEY(author):
            raise ValueError("the author of a heartbeat must be a key of 64 hexadecimal digits")
        match position:
            case [int() as life, int() as number] if _whole(life) and _whole(number):
                checked[author] = (life, number)
            case _:
                raise ValueError(f"an author's heartbeat must be its life and number, each 0 to {HIGHEST - 1}")
    return checked


def _whole(value: object) -> bool:
    return type(value) is int and 0 <= value < HIGHEST
