"""Instants beyond 2106, which four bytes of seconds do not hold.

The public report: a clock that was once beyond 2106 broke RecordIntentions for ever, for the service time never falls.
"""

from __future__ import annotations

import math

import pytest
from gossipcontrol.server.core.knowledge.answer import unshared
from gossipcontrol.server.core.knowledge.event import IntentionsRecorded
from gossipcontrol.server.core.knowledge.intention import Intention
from gossipcontrol.server.core.knowledge.parameter import KnowledgeParameters
from gossipcontrol.server.core.knowledge.store import KnowledgeStore
from gossipcontrol.server.core.knowledge.tracker import Recorded

from tests.core.knowledge.test_store import saved

IN_2107 = 4_323_456_789.0
FAR = 1e12


def test_recording_goes_on_after_2106() -> None:
    knowledge = KnowledgeStore(KnowledgeParameters())
    knowledge.handle(IntentionsRecorded("s", (Intention("m", b"m1"),)), 1000.0)
    for number, now in enumerate((IN_2107, IN_2107 + 20, FAR), 1):
        prev = b"a%d" % (number - 1) if number > 1 else b""
        event = IntentionsRecorded("s", (Intention("a", b"a%d" % number, prev),))
        assert knowledge.handle(event, now).recorded == Recorded(new=1)
    restored = KnowledgeStore(knowledge.parameters)
    restored.load(*saved(knowledge))
    assert saved(restored) == saved(knowledge)
    for each in (knowledge, restored):
        tracker = each.tracker("s")
        assert tracker is not None
        found = [(one.author_id, one.writes, one.oldest_at) for one in unshared(tracker, "s", IN_2107 + 25)]
        assert found == [("a", 2, IN_2107), ("m", 1, 1000.0)]


@pytest.mark.parametrize("now", [math.nan, math.inf])
def test_an_instant_that_cannot_be_kept_changes_nothing(now: float) -> None:
    knowledge = KnowledgeStore(KnowledgeParameters())
    knowledge.handle(IntentionsRecorded("s", (Intention("a", b"a1"), Intention("b", b"b1", b"", (b"a1",)))), 1000.0)
    before = saved(knowledge)
    with pytest.raises((ValueError, OverflowError)):
        knowledge.handle(IntentionsRecorded("s", (Intention("a", b"a2", b"a1", (b"b1",)),)), now)
    assert saved(knowledge) == before
