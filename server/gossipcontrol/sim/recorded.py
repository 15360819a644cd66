"""What a service recorded in its state: the triggers that it decided on, and what became of the rejoins."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

from gossipcontrol.server.core.core import Core, CoreParameters
from gossipcontrol.server.core.deciding.record import RejoinRecord, TriggerRecord
from gossipcontrol.server.core.decision import Capability, Outcome
from gossipcontrol.server.state.backup import BackupError, back_up
from gossipcontrol.server.state.journal import Loaded, StateError
from gossipcontrol.server.state.recovery import recover, written_with
from gossipcontrol.server.state.sqlite import SqliteJournal
from gossipcontrol.sim.result import Result
from gossipcontrol.sim.trial import ScenarioError, Trial

MAGIC = b"SQLite format 3\0"
STARTED = frozenset({Outcome.RUNNING, Outcome.VERIFIED, Outcome.UNVERIFIED, Outcome.FAILED, Outcome.SPLIT})
PROOF_TIME = 1.0
"""Seconds until a rejoin is proved where the record has none that was."""


class RecordedNode(NamedTuple):
    """A node that had registered."""

    node_id: str
    host_id: str
    store_ids: tuple[str, ...]
    capabilities: frozenset[Capability]
    name: str


class RecordedTrigger(NamedTuple):
    """A trigger for one (node, store), with what was decided and seen."""

    node_id: str
    store_id: str
    trigger: TriggerRecord


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a time that is over."""

    written_with: Trial
    nodes: tuple[RecordedNode, ...]
    triggers: tuple[RecordedTrigger, ...]
    """Oldest first."""
    rejoins: tuple[RejoinRecord, ...]
    """Those of the triggers; newest first."""
    missing: int
    """Triggers that are counted, but were not kept."""
    proof_time: float
    """Seconds from the start of a rejoin to its proof, usually."""


def is_state_file(path: Path) -> bool:
    """Whether a file is a state of the service, or a backup of one; raises ScenarioError."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError as error:
        raise ScenarioError(f"{path}: {error.strerror}") from error


def read_record(path: Path, last: float | None = None) -> Record:
    """The record in a state file, which may be in use; ``last``: of its last seconds only. Raises ScenarioError."""
    try:
        loaded = _load(path)
        written = written_with(loaded, CoreParameters())
        core = recover(loaded, written)
    except (BackupError, StateError) as error:
        raise ScenarioError(f"{path}: {error}") from error
    record = _record(core, Trial("replayed", written.deciding), last)
    if not record.triggers:
        raise ScenarioError(f"{path}: no trigger is recorded there{'' if last is None else f' in its last {last:g} s'}")
    return record


def _load(path: Path) -> Loaded:
    """What the file holds. It is read in a copy: reading may migrate a file, and a service may have it open."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "state.db"
        back_up(path, copy)
        journal = SqliteJournal(copy)
        try:
            return journal.load()
        finally:
            journal.close()


def _record(core: Core, trial: Trial, last: float | None) -> Record:
    registry = core.deciding.registry
    nodes = [
        RecordedNode(node.node_id, node.host_id, tuple(node.slots), node.capabilities, node.name)
        for node in registry.nodes.values()
        if node.registered
    ]
    rejoins = [one for one in core.catalog.rejoins() if one.node_id and one.store_id]
    newest = max((trigger.arrived_at for one in rejoins for trigger in one.triggers), default=0.0)
    if last is not None:
        rejoins = [one for one in rejoins if one.requested_at > newest - last]
    triggers = [RecordedTrigger(one.node_id, one.store_id, trigger) for one in rejoins for trigger in one.triggers]
    proofs = [one.verified_after for one in rejoins if one.verified_after is not None]
    return Record(
        written_with=trial,
        nodes=tuple(nodes),
        triggers=tuple(sorted(triggers, key=lambda one: one.trigger.arrived_at)),
        rejoins=tuple(rejoins),
        missing=sum(one.trigger_count - len(one.triggers) for one in rejoins),
        proof_time=median(proofs) if proofs else PROOF_TIME,
    )


def recorded_result(record: Record) -> Result:
    """What the service did, as it says itself."""
    result, began_at = Result("recorded", runs=1), record.triggers[0].trigger.arrived_at
    for one in record.rejoins:
        if one.attempts:
            result.commanded[one.node_id] += one.attempts
        if one.started_at is not None:
            result.started_at += [one.started_at - began_at] * one.attempts
        if one.outcome not in (Outcome.WAITING, Outcome.PARKED, Outcome.RUNNING):
            result.ended[one.outcome] += 1
    result.decisions.update((one.trigger.kind, one.trigger.rule) for one in record.triggers)
    result.started_at.sort()
    return result
