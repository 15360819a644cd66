"""The state file of an earlier version, and the core that goes on from it."""

from __future__ import annotations

import dataclasses
import gzip
import json
import shutil
import zlib
from pathlib import Path

from gossipcontrol.server.core.core import Core, CoreParameters
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.core.knowledge.parameter import KnowledgeParameters
from gossipcontrol.server.state.journal import Loaded, LoadedKnowledge
from gossipcontrol.server.state.pack import pack
from gossipcontrol.server.state.recovery import recover, recover_book, take_book, take_snapshot
from gossipcontrol.server.state.sqlite import SqliteJournal

STATE = Path(__file__).parent / "state_v0.db.gz"
NOW, EARLIER = 1_750_000_458.25, 1_750_000_346.0625
"""When questions are asked: just after the last fact, and just after the snapshot if nothing else is read."""
DECIDING = Parameters(
    window=4.0, rate=2.0, burst=6, queue_limit=500, park_time=300.0, verify_timeout=3.0, trial_time=400.0, fresh=15.0,
    fanout=2, spread=3, request_memory=900.0, request_limit=400, generation_memory=7200.0, generation_limit=300,
    decision_limit=2000, history_limit=50, history_age=3600.0, node_limit=17, stores_per_node=6,
)  # fmt: skip
"""The parameters with which the file was written; each differs from its default, so the file holds each."""
KNOWLEDGE = KnowledgeParameters(
    store_limit=8, chain_limit=60, branch_limit=6, member_limit=12, intention_limit=4000, recent=8, floating_limit=150,
    keep=30, forget_every=10, name_limit=40, sender_limit=3, unshared_age=20.0, look_every=10.0,
)  # fmt: skip
NODES = ("n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8", "n9", "n10", "d1", "d2", "u1", "u2", "u3", "u4")
REQUESTS = (1, 4, 7, 9, 12, 21, 23, 24, 27, 28, 99)
"""Numbers of the request ids that are asked about; nobody used the last."""
STORES = ("chat", "mail", "notes", "photos")
"""The stores of knowledge."""


def request_id(number: int) -> str:
    """The request ids of the file, by number."""
    return f"00000000-0000-4000-8000-{number:012d}"


def unpack(directory: Path) -> Path:
    """Put a copy of the state file into this directory."""
    path = directory / "state.db"
    with gzip.open(STATE) as packed, path.open("wb") as file:
        shutil.copyfileobj(packed, file)
    return path


def load(path: Path) -> Loaded:
    """Read what the file holds. Reading may migrate the file."""
    journal = SqliteJournal(path)
    try:
        return journal.load()
    finally:
        journal.close()


def restore(loaded: Loaded, deciding: Parameters, knowledge: KnowledgeParameters) -> tuple[Core, bool]:
    """The core that goes on from there, and whether knowledge must be written again."""
    store, must_rewrite = recover_book(loaded.knowledge, knowledge)
    return recover(loaded, CoreParameters(deciding=deciding, knowledge=knowledge), store), must_rewrite


def without_log(loaded: Loaded) -> Loaded:
    """The snapshots alone, as if nothing had happened after them."""
    return dataclasses.replace(loaded, entries=(), knowledge=dataclasses.replace(loaded.knowledge, entries=()))


def rewritten(core: Core) -> Loaded:
    """What would be read if the present code had written all of it."""
    snapshot = json.loads(zlib.decompress(pack(take_snapshot(core))))
    taken = take_book(core.knowledge, core.knowledge.store_ids(), NOW)
    stores = {store_id: b"".join(one.parts()) for store_id, one in taken.stores.items()}
    return Loaded(snapshot, (), NOW, LoadedKnowledge(json.loads(json.dumps(taken.shared)), 0, stores, ()))
