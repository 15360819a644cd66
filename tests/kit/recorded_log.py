"""A log as an owner keeps it in a ledger, and its replay in another process or with another version of Python.

``python -m tests.kit.recorded_log record FILE`` decides about random events, and writes the log with a checksum of the
whole state after every 1,000 facts; ``replay FILE`` replays it as a standby does, and fails where a checksum differs.
"""

from __future__ import annotations

import base64
import json
import os
import platform
import random
import sys
import zlib
from collections.abc import Collection, Iterable
from pathlib import Path

from gossipcontrol.server.core.core import Core, CoreParameters
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.core.decision import Capability, Cause
from gossipcontrol.server.core.effect import StartRejoin
from gossipcontrol.server.core.event import (
    Event,
    LivenessReported,
    NeighborChanged,
    NetworkChanged,
    NodeAttached,
    NodeDetached,
    OwnerChanged,
    RejoinFinished,
    RejoinRequested,
    ServiceStarted,
    StartDelayed,
    SuspicionEnded,
    TimePassed,
)
from gossipcontrol.server.core.knowledge.codec import write_event
from gossipcontrol.server.core.knowledge.event import IntentionsRecorded, KnowledgeEvent, Member, MembersChanged
from gossipcontrol.server.core.knowledge.parameter import KnowledgeParameters
from gossipcontrol.server.core.turn import Fact, KnowledgeFact, Turn
from gossipcontrol.server.state.effects_checksum import checksum
from gossipcontrol.server.state.entry import KnowledgeEntry
from gossipcontrol.server.state.ledger_entry import Batch, BatchReader, Numbered, pack_batch, write_entries
from gossipcontrol.server.state.ledger_manifest import Manifest
from gossipcontrol.server.state.ledger_reading import Parts
from gossipcontrol.server.state.ledger_replay import Replay

from tests.core.knowledge.graphs import Shape, arrive, grow
from tests.kit.core_lab import Lab

EACH = 1000
"""Facts between two checksums of the state."""
NODES = tuple(f"node-{number}" for number in range(60))
STORES = tuple(f"store-{number}" for number in range(8))
PARAMETERS = CoreParameters(
    deciding=Parameters(
        rate=50.0, burst=20, window=3.0, verify_timeout=2.0, park_time=60.0, node_limit=45, history_limit=400
    ),
    knowledge=KnowledgeParameters(store_limit=5, chain_limit=60, member_limit=10, intention_limit=600, keep=20),
)
"""There is not room for all, so that somebody is forgotten all the time."""
ROT = (Cause.OUTBOUND_ROT, Cause.INBOUND_ROT, Cause.PARTITION)
WAYS = (
    "asks", "asks", "changes", "rots", "heals", "attaches", "attaches", "leaves", "meets", "reports", "ends", "ends",
    "ends", "is delayed", "writes", "writes",
)  # fmt: skip
"""What may happen to a node; what stands here twice happens twice as often."""


def state_checksum(core: Core) -> int:
    """CRC-32 of all of the state that lasts."""
    book = core.knowledge
    found = zlib.crc32(json.dumps([core.save(), book.senders(), book.store_ids()]).encode())
    for store_id in book.store_ids():
        for part in book.capture(store_id).parts():
            found = zlib.crc32(part, found)
    return found


class Recorder(Lab):
    """Decides about random events, and keeps each turn as one batch of the log."""

    def __init__(self, seed: int) -> None:
        super().__init__(PARAMETERS.deciding)
        self.core = Core(PARAMETERS)
        self.entries: list[bytes] = []
        """Of the ledger."""
        self.checksums: dict[int, int] = {}
        """Of the state after so many facts."""
        self.facts = 0
        self._rng = random.Random(seed)
        self._writes = writes(self._rng)

    def record(self, facts: int) -> None:
        """Let things happen until the log has so many."""
        self.handle(ServiceStarted("first"))
        while self.facts < facts:
            self.advance(self._rng.choice((0.0, 0.0, 0.05, 0.3, 5.0)))
            self.handle(self._next(self._rng.choice(WAYS), self._rng.choice(NODES)))
            if self.facts % 700 == 0:
                self.handle(OwnerChanged(f"run {self.facts}", self.facts))

    def turn(self, event: Event) -> Turn:
        """Let an event happen now, and keep it."""
        turn = super().turn(event)
        if turn.facts:
            before, rows = self.facts, list[Numbered]()
            for fact in turn.facts:
                self.facts += 1
                rows.append((self.facts, fact if isinstance(fact, Fact) else _entry(fact)))
            effects = checksum(turn.effects)
            batch = Batch(None, rows, {self.facts: effects} if effects else {})
            self.entries += write_entries(1, pack_batch(batch))
            if before // EACH < self.facts // EACH:
                self.checksums[self.facts] = state_checksum(self.core)
        return turn

    def _next(self, way: str, node_id: str) -> Event:
        rng, host_id = self._rng, f"host-{NODES.index(node_id) // 3}"
        store_id, peer_id = rng.choice(STORES), rng.choice(NODES)
        match way:
            case "asks":
                cause = rng.choice((Cause.MANUAL, Cause.SUSPICION, Cause.ISOLATED))
                request_id = f"{node_id} {rng.randrange(9)}" if rng.random() < 0.5 else ""
                return RejoinRequested(node_id, tuple(rng.sample(STORES, rng.randrange(4))), cause, request_id)
            case "changes":
                return NetworkChanged(host_id, boot_id="b", generation=self.facts // 7)
            case "rots":
                return RejoinRequested(node_id, (store_id,), rng.choice(ROT), bridge=tuple(rng.sample(NODES, 2)))
            case "heals":
                return SuspicionEnded(node_id, store_id, rng.choice(ROT), healed=rng.random() < 0.7)
            case "attaches":
                able = frozenset(rng.sample(list(Capability), 2))
                stores = tuple(rng.sample(STORES, rng.randint(1, len(STORES))))
                return NodeAttached(node_id, f"of {node_id}", stores, host_id, able)
            case "leaves":
                return NodeDetached(node_id, f"of {node_id}", left=rng.random() < 0.3)
            case "meets":
                return NeighborChanged(node_id, store_id, peer_id, True, self.now - rng.random())
            case "writes":
                return self._writes.pop() if self._writes else TimePassed()
            case "reports":
                return LivenessReported(node_id, store_id, {peer_id: self.now - rng.random()})
            case _ if not self.starts:
                return TimePassed()
            case _:
                return self._after_start(way, self._rng.choice(self.starts[-20:])[1])

    def _after_start(self, way: str, start: StartRejoin) -> Event:
        if way == "is delayed":
            return StartDelayed(start.rejoin_id, start.attempt)
        ok, retry_in = self._rng.random() < 0.7, self._rng.choice((None, 0.0, 4.0))
        return RejoinFinished(start.rejoin_id, start.attempt, ok, "" if ok else "no route", None if ok else retry_in)


def writes(rng: random.Random) -> list[KnowledgeEvent]:
    """Batches of intentions in three stores, from several senders, and changes of members between them."""
    made: list[KnowledgeEvent] = []
    for store_id in STORES[:3]:
        shape = Shape(6, 1500, forks=0.03, losses=0.01, missing=0.01)
        arriving = arrive(grow(shape, rng), shape, rng, 0.05)
        for sequence, first in enumerate(range(0, len(arriving), 5), 1):
            sender = rng.choice(("", "one", "two"))
            batch = tuple(arriving[first : first + 5])
            made.append(IntentionsRecorded(store_id, batch, sender, sequence if sender else 0))
            if rng.random() < 0.1:
                made.append(MembersChanged(store_id, (Member(f"p{rng.randrange(8)}"),), (f"q{rng.randrange(8)}",)))
    return made[::-1]


def _entry(fact: KnowledgeFact) -> KnowledgeEntry:
    body = write_event(fact.event, fact.room)
    return KnowledgeEntry(fact.at, fact.event.store_id, type(fact.event).__name__, body)


def replay(entries: Iterable[bytes], at: Collection[int]) -> dict[int, int]:
    """The checksums of the state after so many facts; raises DivergedError where a turn has other effects."""
    standby = Replay(Parts(Manifest(), 0, b"", {}, None, (), BatchReader(), 0), PARAMETERS)
    facts, found = 0, dict[int, int]()
    for seq, entry in enumerate(entries, 1):
        standby.read(seq, entry)
        while standby.left:
            standby.step()
            facts += 1
            if facts in at:
                found[facts] = state_checksum(standby._core)  # pyright: ignore[reportPrivateUsage]
    return found


def record(path: Path, facts: int) -> str:
    """Write a log of so many facts, with the checksums; returns what it is."""
    recorder = Recorder(seed=1)
    recorder.record(facts)
    entries = [base64.b64encode(one).decode() for one in recorder.entries]
    path.write_text(json.dumps({"entries": entries, "checksums": [*recorder.checksums.items()]}), "utf-8")
    return f"recorded {recorder.facts} facts in {len(entries)} entries"


def compare(path: Path) -> tuple[bool, str]:
    """Whether a replay has the states of the recording, and what is to be said of it."""
    plain = json.loads(path.read_text("utf-8"))
    expected = dict[int, int](plain["checksums"])
    found = replay(map(base64.b64decode, plain["entries"]), expected)
    equal = sum(found.get(number) == one for number, one in expected.items())
    seed = os.environ.get("PYTHONHASHSEED", "random")
    said = f"Python {platform.python_version()}, hash seed {seed}: {equal} of {len(expected)} states equal"
    return 0 < equal == len(expected), said


def main(what: str, path: str, facts: str = "20000") -> int:
    """Record or replay; the exit code says whether all is equal."""
    is_equal, said = (True, record(Path(path), int(facts))) if what == "record" else compare(Path(path))
    print(said)
    return 0 if is_equal else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
