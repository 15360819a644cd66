"""A core and a book that go on with the log of a ledger, entry after entry, as a standby has them."""

from __future__ import annotations

import json
import zlib
from collections import deque
from typing import NamedTuple

from gossipcontrol.server.core.core import Core, CoreParameters
from gossipcontrol.server.core.effect import Effect
from gossipcontrol.server.core.turn import Fact
from gossipcontrol.server.state.effects_checksum import checksum
from gossipcontrol.server.state.entry import KnowledgeEntry
from gossipcontrol.server.state.journal import Loaded, LoadedKnowledge
from gossipcontrol.server.state.ledger_entry import Batch
from gossipcontrol.server.state.ledger_manifest import Manifest, is_uncovered
from gossipcontrol.server.state.ledger_reading import Found, Parts, last_at, last_number
from gossipcontrol.server.state.recovery import (
    change_book,
    change_core,
    load_book,
    load_core,
    replay_entry,
    take_parameters,
)


class DivergedError(Exception):
    """The replay of a turn had other effects than the turn."""

    def __init__(self, number: int) -> None:
        super().__init__(f"fact {number} of the log has other effects here than it had on the replica that decided it")
        self.number = number
        """Of the last fact of the turn."""


class Waiting(NamedTuple):
    """A fact that is yet to be replayed."""

    number: int
    fact: Fact | KnowledgeEntry
    is_checked: bool
    """Whether its batch has checksums."""
    checksum: int | None
    """Of the effects of the turn that ends with it; None: it ends none, or one without effects."""


class Taken(NamedTuple):
    """A batch that was read from the log."""

    seq: int
    """Of the entry that ends it."""
    size: int
    """Bytes in the log."""
    number: int
    """Of its last fact."""
    facts: int
    """How many it has."""


class Replay:
    """Made of what stands in a ledger, which takes seconds for a large fleet, so in a thread.

    ``read`` takes the entries that come later, and ``step`` replays one fact of what was read. All raise what decoding
    raises (``UNREADABLE``), and ``step`` raises DivergedError.
    """

    def __init__(self, parts: Parts, parameters: CoreParameters) -> None:
        self._manifest = manifest = parts.manifest
        """As it was read."""
        self.seq = parts.last
        """The last entry that was read."""
        self.epoch = max(manifest.deciding.epoch, parts.reader.batch_epoch)
        """Of the last owner whose parameters are known to be those of this core."""
        self._reader = parts.reader
        self._book = load_book(
            LoadedKnowledge(manifest.shared, manifest.shared_number, parts.stores), parameters.knowledge
        )
        snapshot = json.loads(zlib.decompress(parts.packed)) if parts.packed else None
        facts = [fact for one in parts.log for _, fact in one.batch.entries[:1] if isinstance(fact, Fact)]
        self._core = load_core(Loaded(snapshot, facts), parameters, self._book)
        self._todo: deque[Waiting] = deque()
        self._effects: list[Effect] = []
        """Of the turn that is being replayed."""
        self._number = last_number(manifest, ())
        self._last_at = last_at(manifest, ())
        self._clock = manifest.clock
        self._known = 0
        """Number of the last fact of knowledge that was taken: one may stand in the tail and in the log."""
        self._uncovered: dict[int, KnowledgeEntry] = {}
        """Facts of knowledge that no snapshot of a store holds."""
        self._log: deque[Taken] = deque()
        """What of the log no snapshot covers."""
        self._size = 0
        if parts.tail is not None:
            self._take(parts.tail)
        for one in parts.log:
            self._add(one.seq, one.size, one.batch)

    @property
    def batch_epoch(self) -> int:
        """The owner that wrote the last batch that was read."""
        return self._reader.batch_epoch

    @property
    def left(self) -> int:
        """Facts that were read, and are yet to be replayed."""
        return len(self._todo)

    def read(self, seq: int, entry: bytes) -> None:
        """Take the next entry."""
        batch = self._reader.take(entry)
        self.seq, self._size = seq, self._size + len(entry)
        if batch is not None:
            self._add(seq, self._size, batch)
            self._size = 0

    def _add(self, seq: int, size: int, batch: Batch) -> None:
        self._log.append(Taken(seq, size, batch.entries[-1][0], len(batch.entries)))
        self._take(batch)

    def _take(self, batch: Batch) -> None:
        """Have the facts wait that no snapshot holds."""
        self._number = max(self._number, batch.entries[-1][0])
        self._last_at = max(self._last_at, *(one.at for _, one in batch.entries))
        self._clock = batch.clock or self._clock
        checksums = batch.checksums or {}
        for number, one in batch.entries:
            is_new = is_uncovered(self._manifest, number, one)
            if isinstance(one, KnowledgeEntry):
                is_new = is_new and number > self._known
                self._known = max(self._known, number)
            if is_new:
                self._todo.append(Waiting(number, one, batch.checksums is not None, checksums.get(number)))

    def step(self) -> None:
        """Replay the next fact."""
        number, one, is_checked, expected = self._todo.popleft()
        if isinstance(one, KnowledgeEntry):
            self._uncovered[number] = one
            replay_entry(self._book, one, is_in_senders=number <= self._manifest.shared_number)
            return
        effects = self._core.replay(one)
        if not is_checked:
            self._effects.clear()
            return
        self._effects += effects
        if expected is not None:
            found = checksum(self._effects)
            self._effects.clear()
            if found != expected:
                raise DivergedError(number)

    def cover(self, manifest: Manifest) -> None:
        """Forget what newer snapshots hold."""
        while self._log and self._log[0].seq <= manifest.seq:
            self._log.popleft()
        self._uncovered = {
            number: one for number, one in self._uncovered.items() if is_uncovered(manifest, number, one)
        }

    def found(self, manifest: Manifest, revision: int) -> Found:
        """What a new owner's journal goes on with, once everything is replayed."""
        self.cover(manifest)
        loaded = Loaded(
            {"parameters": take_parameters(self._core)},
            (),
            max(self._last_at, last_at(manifest, ())),
            LoadedKnowledge(manifest.shared, manifest.shared_number, {}, sorted(self._uncovered.items())),
            self._clock,
        )
        facts = sum(one.facts for one in self._log if one.number >= manifest.deciding.number)
        number = max(self._number, last_number(manifest, ()))
        return Found(loaded, manifest, revision, number, facts, sum(one.size for one in self._log))

    def finish(self, parameters: CoreParameters) -> tuple[Core, bool]:
        """The core with these parameters, and whether all knowledge must be kept anew; slow where they are others."""
        is_same = bool(self._manifest.shared) and self._book.parameters == parameters.knowledge
        book = self._book if is_same else change_book(self._book, parameters.knowledge)
        return change_core(self._core, parameters, book), not is_same
