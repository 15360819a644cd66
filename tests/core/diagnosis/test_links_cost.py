"""Links are what every single neighbour proves, at a cost that does not grow with the square of the store."""

from __future__ import annotations

from gossipcontrol.server.core.event import NEVER, LivenessReported
from gossipcontrol.server.core.presence.record import PeerState
from hypothesis import given
from hypothesis import strategies as st

from tests.core.diagnosis.naive_links import NaiveLinks
from tests.kit.store_reports import Store

NODES = "abcdefgh"
REPORT = st.tuples(
    st.sampled_from(NODES[:6]), st.sets(st.sampled_from(NODES)), st.sets(st.sampled_from(NODES)), st.integers(0, 2)
)


@given(
    st.lists(st.lists(REPORT, max_size=6), min_size=1, max_size=12),
    st.fixed_dictionaries({one: st.sampled_from(PeerState) for one in NODES}),
)
def test_links_are_those_found_one_by_one(
    rounds: list[list[tuple[str, set[str], set[str], int]]], states: dict[str, PeerState]
) -> None:
    store, now, sent = Store(), 0.0, dict.fromkeys(NODES, 0)
    store.state = states.__getitem__
    for reports in rounds:
        now += 3.0
        for node_id, neighbors, heard, rise in reports:
            sent[node_id] += rise
            store.say(now, node_id, {one: sent[one] for one in heard}, "".join(neighbors), sent[node_id])
    links = store.links(now + 0.5)
    naive = NaiveLinks(store, links.missing, links.mute, now + 0.5)
    assert links.fresh == naive.fresh
    assert {frozenset(side) for side in links.sides()} == naive.sides()
    assert links.linked == naive.linked & naive.fresh.keys()
    assert links.is_whole == naive.is_whole
    if not links.is_whole:
        assert [links.is_closed([one]) for one in NODES] == [one not in naive.open for one in NODES]


def crowd(count: int, halves: int = 1) -> Store:
    """So many nodes that list all others of their half."""
    store = Store()
    nodes = [f"n{number}" for number in range(count)]
    for number, node_id in enumerate(nodes):
        view = dict.fromkeys(nodes[number % halves :: halves], NEVER)
        store.reports.record(LivenessReported(node_id, "notes", {}, view, 0), 10.0)
    return store


def test_nodes_that_all_list_each_other_are_linked_in_as_many_steps_as_there_are_nodes() -> None:
    """1,000 observers with 1,000 neighbours each took 0.68 s, at one look per second."""
    for halves in (1, 2):
        links = crowd(400, halves).links(11.0)
        assert len(links.sides()) == halves
        assert links.steps <= 400
