"""The core remembers its next deadline between two events: whatever changes it must be seen."""

from __future__ import annotations

from gossipcontrol.server.core.core import Core, Journaling
from gossipcontrol.server.core.event import LivenessReported, NetworkChanged
from gossipcontrol.server.core.turn import Fact


def test_every_event_may_change_the_next_deadline() -> None:
    core = Core()
    assert core.next_deadline() is None
    core.handle(NetworkChanged("h"), 1.0)
    parked_until = core.next_deadline()
    assert parked_until == 1.0 + core.parameters.deciding.park_time
    core.handle(LivenessReported("n", "s", heard={"p": 1.0}), 1.0)
    assert core.next_deadline() == core.next_deadline(Journaling.FAILING) != parked_until


def test_a_replay_and_a_saved_state_change_it_as_well() -> None:
    first, replayed, loaded = Core(), Core(), Core()
    (fact,) = first.handle(NetworkChanged("h"), 1.0).facts
    assert replayed.next_deadline() is loaded.next_deadline() is None
    assert isinstance(fact, Fact)
    replayed.replay(fact)
    loaded.load(first.save())
    assert replayed.next_deadline() == loaded.next_deadline() == first.next_deadline()
