"""From what an earlier run left to a core that goes on."""

from __future__ import annotations

from gossipcontrol.server.core.codec import CodecError, Plain, decode, encode
from gossipcontrol.server.core.engine import Engine
from gossipcontrol.server.core.liveness.liveness import Liveness
from gossipcontrol.server.core.parameter import Parameters
from gossipcontrol.server.state.journal import Loaded, StateError

MOVED = frozenset({"peers_per_store", "peer_age"})
"""Parameters that earlier snapshots have, and that decide nothing any longer: they are liveness's now."""


def recover(loaded: Loaded, parameters: Parameters, liveness: Liveness | None = None) -> Engine:
    """The core as it was after the last fact, now with these parameters; raises StateError.

    The log is replayed with the parameters under which it was written: others would decide otherwise.
    """
    try:
        written = _parameters(loaded.snapshot["parameters"]) if loaded.snapshot else parameters
        engine = Engine(written, liveness=liveness)
        if loaded.snapshot:
            engine.load(loaded.snapshot["core"])
        for entry in loaded.entries:
            engine.handle(entry.event, entry.at, entry.said)
        if written == parameters:
            return engine
        changed = Engine(parameters, liveness=liveness)
        changed.load(engine.save())
    except (CodecError, KeyError, TypeError, ValueError) as error:
        raise StateError(f"the state cannot be restored: {error}. Move it away to start with an empty one.") from error
    return changed


def _parameters(plain: Plain) -> Parameters:
    parameters: Parameters = decode({name: one for name, one in plain.items() if name not in MOVED}, Parameters)
    return parameters


def take_snapshot(engine: Engine, parameters: Parameters) -> Plain:
    """Everything that ``recover`` needs."""
    return {"parameters": encode(parameters), "core": engine.save()}
