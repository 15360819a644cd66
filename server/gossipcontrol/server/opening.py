"""What the service goes on with at its start: the backend of its state, and the core that the last run left."""

from __future__ import annotations

from pathlib import Path

from gossipcontrol.server.config import Config, State
from gossipcontrol.server.core.core import Core, CoreParameters
from gossipcontrol.server.memory_limit import memory_limit
from gossipcontrol.server.state.journal import Journal, Loaded
from gossipcontrol.server.state.memory import MemoryJournal
from gossipcontrol.server.state.recovery import recover, recover_book
from gossipcontrol.server.state.sqlite import SqliteJournal


def open_journal(state: State) -> Journal:
    """The backend that the configuration names."""
    if state.backend == "memory":
        return MemoryJournal()
    return SqliteJournal(Path(state.path), full=state.durability == "full", max_bytes=state.max_bytes)


def core_parameters(config: Config) -> CoreParameters:
    """How the core decides, as configured."""
    return CoreParameters(
        deciding=config.deciding, liveness=config.liveness, knowledge=config.knowledge, memory=memory_limit(config)
    )


def recover_core(config: Config, loaded: Loaded) -> tuple[Core, bool]:
    """The core, and whether all of its knowledge must be kept anew; raises StateError."""
    store, whole = recover_book(loaded.knowledge, config.knowledge)
    return recover(loaded, core_parameters(config), store), whole
