"""From what an earlier run left to a core that goes on."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import replace

from gossipcontrol.server.core.codec import CodecError, Plain, decode, encode
from gossipcontrol.server.core.core import Core, CoreParameters
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.core.deciding.turn_size import FORMER, LATER, TurnSizes
from gossipcontrol.server.core.knowledge.codec import read_event
from gossipcontrol.server.core.knowledge.event import IntentionsRecorded
from gossipcontrol.server.core.knowledge.parameter import KnowledgeParameters
from gossipcontrol.server.core.knowledge.store import KnowledgeStore
from gossipcontrol.server.core.slices import Slices, finish
from gossipcontrol.server.state.entry import KnowledgeEntry
from gossipcontrol.server.state.journal import KnowledgeSnapshot, Loaded, LoadedKnowledge, StateError

MOVED = frozenset({"peers_per_store", "peer_age"})
"""Parameters that earlier snapshots have, and that decide nothing any longer: they are liveness's now."""
SIZES = "turn"
"""The mark beside the parameters: how much one turn decided. An earlier version refuses a snapshot that has it."""


def recover(loaded: Loaded, parameters: CoreParameters, knowledge: KnowledgeStore | None = None) -> Core:
    """The core as it was after the last fact, now with these parameters; raises StateError.

    The log is replayed with the parameters under which it was written: others would decide otherwise.
    """
    try:
        core = load_core(loaded, parameters, knowledge)
        for fact in loaded.entries:
            core.replay(fact)
        return change_core(core, parameters, knowledge)
    except (CodecError, KeyError, TypeError, ValueError) as error:
        raise _unreadable(error) from error


def load_core(loaded: Loaded, parameters: CoreParameters, knowledge: KnowledgeStore | None) -> Core:
    """The core as the snapshot has it, with the parameters under which the log after it was written.

    Raises CodecError, KeyError, TypeError or ValueError.
    """
    core = Core(written_with(loaded, parameters), knowledge=knowledge)
    if loaded.snapshot:
        core.load(loaded.snapshot["core"])
    return core


def change_core(core: Core, parameters: CoreParameters, knowledge: KnowledgeStore | None) -> Core:
    """A core of the same state with these parameters, and this book."""
    if core.parameters == parameters and knowledge in (None, core.knowledge):
        return core
    changed = Core(parameters, knowledge=knowledge)
    changed.load(core.save())
    return changed


def written_with(loaded: Loaded, parameters: CoreParameters) -> CoreParameters:
    """These parameters, but those of deciding as they were when the log was written.

    A state without a snapshot does not say: nothing but the sizes of turns can have been others.
    """
    if not loaded.snapshot:
        return replace(parameters, sizes=FORMER) if loaded.entries else parameters
    plain = {name: one for name, one in loaded.snapshot["parameters"].items() if name not in MOVED}
    mark = plain.pop(SIZES, None)
    sizes = FORMER if mark is None else decode(LATER | mark, TurnSizes)
    return replace(parameters, deciding=decode(plain, Parameters), sizes=sizes)


def take_snapshot(core: Core) -> Plain:
    """Everything that ``recover`` needs; much of it is yet to be encoded."""
    return finish(take_snapshot_slices(core))


def take_snapshot_slices(core: Core) -> Slices[Plain]:
    """The same in slices, as it is at the first of them, whatever events come between them."""
    return {"parameters": take_parameters(core), "core": (yield from core.capture_slices())}


def take_parameters(core: Core) -> Plain:
    """Those under which the log after a snapshot is written, as ``written_with`` reads them."""
    return encode(core.parameters.deciding) | {SIZES: encode(core.parameters.sizes)}


def recover_book(loaded: LoadedKnowledge, parameters: KnowledgeParameters) -> tuple[KnowledgeStore, bool]:
    """The book after the last fact, and whether all of it must be kept anew; raises StateError.

    That is so when the parameters are not those under which it was written, for a replay needs the latter.
    """
    try:
        book = load_book(loaded, parameters)
        for number, entry in loaded.entries:
            replay_entry(book, entry, is_in_senders=number <= loaded.shared_number)
        if loaded.shared and book.parameters == parameters:
            return book, False
        return change_book(book, parameters), True
    except (CodecError, KeyError, TypeError, ValueError, IndexError, zlib.error) as error:
        raise _unreadable(error) from error


def load_book(loaded: LoadedKnowledge, parameters: KnowledgeParameters) -> KnowledgeStore:
    """The book as the snapshots have it, with the parameters under which the log after them was written.

    Raises CodecError, KeyError, TypeError, ValueError, IndexError or zlib.error.
    """
    written = decode(loaded.shared["parameters"], KnowledgeParameters) if loaded.shared else parameters
    book = KnowledgeStore(written)
    book.load(loaded.shared["senders"] if loaded.shared else (), loaded.stores)
    return book


def replay_entry(book: KnowledgeStore, entry: KnowledgeEntry, *, is_in_senders: bool) -> None:
    """Let a book go on with what the log kept; raises as ``load_book`` does."""
    event, room = read_event(entry.store_id, entry.body)
    if isinstance(event, IntentionsRecorded) and is_in_senders:
        event = replace(event, sender_id="", sequence=0)
    book.handle(event, entry.at, room)


def change_book(book: KnowledgeStore, parameters: KnowledgeParameters) -> KnowledgeStore:
    """A book of the same state with these parameters."""
    stores = {store_id: b"".join(book.capture(store_id).parts()) for store_id in book.store_ids()}
    changed = KnowledgeStore(parameters)
    changed.load(book.senders(), stores)
    return changed


def take_book(book: KnowledgeStore, store_ids: Iterable[str], now: float) -> KnowledgeSnapshot:
    """These stores as they are now, with all that ``recover_book`` needs besides."""
    senders = {"parameters": encode(book.parameters), "senders": book.senders()}
    return KnowledgeSnapshot(now, senders, {store_id: book.capture(store_id) for store_id in store_ids})


def _unreadable(error: Exception) -> StateError:
    return StateError(f"the state cannot be restored: {error}. Move it away to start with an empty one.")
