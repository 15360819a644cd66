"""Peers are drawn with equal chances, however often they are heard."""

from __future__ import annotations

from array import array
from collections import Counter

from gossipcontrol.server.core.event import LivenessReported, TimePassed
from gossipcontrol.server.core.liveness import Liveness
from gossipcontrol.server.core.presence.draw import RowPool
from gossipcontrol.server.core.presence.record import PeerState
from hypothesis import given, settings
from hypothesis import strategies as st


@given(st.lists(st.integers(0, 19), max_size=60), st.integers(0, 2**32 - 1))
def test_each_row_of_a_pool_is_drawn_once(toggled: list[int], seed: int) -> None:
    pool, rows = RowPool(array("i", [0] * 20)), set[int]()
    for row in toggled:
        (pool.remove if row in rows else pool.add)(row)
        rows ^= {row}
    assert len(pool) == len(rows)
    assert sorted(pool.draw(seed)) == sorted(pool) == sorted(rows)


def test_each_row_is_as_likely_to_be_among_the_first_as_any_other() -> None:
    pool, drawn = RowPool(array("i", [0] * 60)), Counter[int]()
    for row in range(60):
        pool.add(row)
    for seed in range(0, 2**32, 2**21 + 1):
        order = pool.draw(seed)
        drawn.update(next(order) for _ in range(3))
    mean = sum(drawn.values()) / 60
    assert len(drawn) == 60
    assert all(0.6 * mean < times < 1.4 * mean for times in drawn.values()), "102 of each, give or take four deviations"


STEPS = st.lists(
    st.tuples(st.integers(0, 4), st.sets(st.integers(0, 9), max_size=6), st.floats(0, 40), st.booleans()), max_size=25
)


@given(STEPS)
@settings(max_examples=60, deadline=None)
def test_who_can_be_drawn_is_online(steps: list[tuple[int, set[int], float, bool]]) -> None:
    liveness, now = Liveness(), 1000.0
    for reporter, peers, wait, sleeps in steps:
        now += wait
        liveness.handle(TimePassed(), now)
        heard = {f"p{one}": now - 1.0 for one in peers}
        liveness.handle(LivenessReported(f"p{reporter}", "s", heard, going_to_sleep=sleeps), now)
        table, store = liveness.presence.table, liveness.presence.stores["s"]
        speakers, others = (
            [table.peer_ids[row] for row in one] for one in (store.online_speakers, store.online_others)
        )
        assert sorted([*speakers, *others]) == sorted(liveness.presence.online("s"))
        assert {one for one in speakers if table.reported_at[store.index[one]] > 0} == {*speakers}
        assert all(table.reported_at[store.index[one]] < 0 for one in others)
        assert len(liveness.presence.online("s")) == liveness.counts().peers[PeerState.ONLINE]
