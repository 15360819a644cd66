"""Intentions that wait for a proof that their author made them, with who vouches for each."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

from gossipcontrol.server.core.knowledge.intention import Intention
from gossipcontrol.server.core.knowledge.parameter import KnowledgeParameters


class Verdict(Enum):
    """What a word for an intention leads to."""

    PROVEN = "proven"
    WAITING = "waiting"
    AGAIN = "again"
    """The identity has said so before."""


class Voucher(NamedTuple):
    """An identity, and what it vouches for: the oldest first, each with whether that is its author's own word."""

    identity: str
    words: tuple[tuple[Intention, bool], ...]


class Unproven:
    """A waiting room in which each identity has places of its own, so that none takes those of another.

    Words for one hash count together only if they agree in everything. An intention is proven by ``witnesses``
    identities if its author is among them, or by ``vouchers`` others. One that is not remembered can be recorded again.
    """

    def __init__(self, parameters: KnowledgeParameters) -> None:
        self._parameters = parameters
        self._claims: dict[bytes, dict[Intention, dict[str, bool]]] = {}
        """Hash -> what it is said to name -> who says so, and whether that is its author's own word."""
        self._words: dict[str, OrderedDict[Intention, bool]] = {}
        """Identity -> what it vouches for, the oldest first."""
        self._named: dict[str, int] = {}
        """Identity -> hashes named by what it vouches for."""
        self.named = 0

    def __len__(self) -> int:
        """Number of hashes that wait."""
        return len(self._claims)

    def vouch(self, one: Intention, identity: str, is_author: bool) -> Verdict:
        """Take the word of an identity; what is proven by it waits no more."""
        voices = self._claims.get(one.hash, {}).get(one, {})
        if voices.get(identity, False) or (identity in voices and not is_author):
            return Verdict.AGAIN
        if self._is_proven({**voices, identity: is_author}):
            self.settle(one.hash)
            return Verdict.PROVEN
        self._add(one, identity, is_author)
        self._make_room(identity)
        return Verdict.WAITING

    def settle(self, name: bytes) -> None:
        """Whatever is said of a hash waits no more, for one of it is proven."""
        for one, voices in self._claims.pop(name, {}).items():
            for identity in voices:
                self._drop(one, identity)

    def vouchers(self) -> list[Voucher]:
        """All words, in the order in which ``recall`` takes them."""
        return [Voucher(identity, tuple(words.items())) for identity, words in self._words.items()]

    def recall(self, vouchers: Iterable[Voucher]) -> None:
        """Take these words, as restored from a snapshot."""
        for identity, words in vouchers:
            for one, is_author in words:
                self._add(one, identity, is_author)

    def _is_proven(self, voices: dict[str, bool]) -> bool:
        others = len(voices) - sum(voices.values())
        has_author = others < len(voices)
        return (has_author and others + 1 >= self._parameters.witnesses) or others >= self._parameters.vouchers

    def _add(self, one: Intention, identity: str, is_author: bool) -> None:
        voices = self._claims.setdefault(one.hash, {}).setdefault(one, {})
        if identity not in voices:
            names = _names(one)
            self._named[identity] = self._named.get(identity, 0) + names
            self.named += names
        voices[identity] = self._words.setdefault(identity, OrderedDict())[one] = is_author

    def _make_room(self, identity: str) -> None:
        """Give up the oldest words of an identity that has too many; if all together have, of the one with most."""
        while self._named.get(identity, 0) > self._parameters.unproven_limit:
            self._forget_oldest(identity)
        while self.named > self._parameters.floating_limit:
            self._forget_oldest(max(self._named, key=self._named.__getitem__))

    def _forget_oldest(self, identity: str) -> None:
        one = next(iter(self._words[identity]))
        contents = self._claims[one.hash]
        del contents[one][identity]
        if not contents[one]:
            del contents[one]
        if not contents:
            del self._claims[one.hash]
        self._drop(one, identity)

    def _drop(self, one: Intention, identity: str) -> None:
        names, words = _names(one), self._words[identity]
        del words[one]
        self.named -= names
        self._named[identity] -= names
        if not words:
            del self._words[identity], self._named[identity]


def _names(one: Intention) -> int:
    return 1 + len(one.dependencies)
