"""Both forms of what was heard say the same."""

from __future__ import annotations

from gossipcontrol.server.core.event import NEVER
from gossipcontrol.server.wire.decode_report import agent_liveness
from gossipcontrol.v1.liveness_pb2 import (
    PATH_DIRECT,
    PATH_FORWARDED,
    LivenessReport,
    Neighbor,
    PeerObservation,
    PeersHeard,
)
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_000_000.0
AGES = st.integers(0, 30 * 24 * 3600 * 1000)
HEARD = st.lists(st.tuples(AGES, st.integers(0, 2**64 - 1), st.booleans()), max_size=5)


def report(**fields: object) -> LivenessReport:
    return LivenessReport(store_id="a", **fields)  # type: ignore[arg-type]


def test_columns_are_instants_counts_and_who_was_heard_directly() -> None:
    heard = PeersHeard(peer_ids=["p", "q", "r"], heard_ages_ms=[0, 1500], heard_counts=[7, 8], direct=[1])
    event = agent_liveness(report(heard=heard, neighbors=[Neighbor(peer_id="p", up_age_ms=60_000)]), "n", NOW)
    assert (event.node_id, event.store_id) == ("n", "a")
    assert list(event.heard.items()) == [("p", NOW), ("q", NOW - 1.5), ("r", NEVER)]
    assert list(event.heard_counts) == [7, 8, 0]
    assert list(event.direct) == ["q"]
    assert event.neighbors == {"p": NOW - 60}


def test_nobody_was_heard_and_nothing_is_counted() -> None:
    assert agent_liveness(report(), "n", NOW).heard == {}
    event = agent_liveness(report(heard=PeersHeard(peer_ids=["p", "q"], heard_ages_ms=[5])), "n", NOW)
    assert (event.heard_counts, event.direct) == ([], [])


@given(HEARD, st.integers(0, 3))
def test_observations_say_what_columns_say(heard: list[tuple[int, int, bool]], unheard: int) -> None:
    peer_ids = [f"p{number}" for number in range(len(heard) + unheard)]
    columns = PeersHeard(
        peer_ids=peer_ids,
        heard_ages_ms=[age for age, _, _ in heard],
        heard_counts=[count for _, count, _ in heard],
        direct=[place for place, (_, _, direct) in enumerate(heard) if direct],
    )
    peers = [
        PeerObservation(
            peer_id=peer_id, heard_age_ms=age, heard_count=count, path=PATH_DIRECT if direct else PATH_FORWARDED
        )
        for peer_id, (age, count, direct) in zip(peer_ids, heard, strict=False)
    ]
    # What came directly from a peer that was never heard says nothing.
    peers += [PeerObservation(peer_id=peer_id, path=PATH_DIRECT) for peer_id in peer_ids[len(heard) :]]
    first = agent_liveness(report(heard=columns), "n", NOW)
    second = agent_liveness(report(peers=peers), "n", NOW)
    assert list(first.heard.items()) == list(second.heard.items())
    assert (list(first.heard_counts) or [0] * unheard, list(first.direct)) == (
        list(second.heard_counts),
        list(second.direct),
    )
