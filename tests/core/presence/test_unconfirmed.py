"""Peers that one identity alone names: bounded, last in views, and confirmed by a second word or their own."""

from __future__ import annotations

from collections import Counter

from gossipcontrol.server.core.event import NEVER, LivenessReported
from gossipcontrol.server.core.liveness import Liveness
from gossipcontrol.server.core.presence.record import PeerState
from gossipcontrol.server.core.presence.table import SPEAKING, UNCONFIRMED
from hypothesis import given
from hypothesis import strategies as st


def names(first: int, last: int, at: float = 1000.0) -> dict[str, float]:
    return {f"p{number}": at for number in range(first, last)}


def report(
    liveness: Liveness, node_id: str, heard: dict[str, float] | None = None, speaker: str = "", at: float = 1000.0
) -> None:
    liveness.handle(LivenessReported(node_id, "s", heard or {}, speaker=speaker), at)


def test_an_identity_names_few_peers_that_nobody_else_names() -> None:
    """One report of 12,000 names filled all places of a store."""
    liveness = Liveness()
    report(liveness, "n", {"q": 999.0})
    report(liveness, "l", names(0, 300))
    assert liveness.peer_count("s") == 3 + UNCONFIRMED
    assert liveness.presence.dropped_names == 300 - UNCONFIRMED
    report(liveness, "l2", names(300, 400), speaker="l")
    assert liveness.peer_count("s") == 4 + UNCONFIRMED, "its other nodes have no places of their own"


def test_who_speaks_alone_in_a_store_may_name_as_many_as_it_hears() -> None:
    liveness = Liveness()
    report(liveness, "n", names(0, 300))
    assert liveness.peer_count("s") == 301
    report(liveness, "m", names(300, 310), speaker="n")
    assert liveness.peer_count("s") == 312, "two nodes of one identity"
    report(liveness, "o")
    report(liveness, "n", names(400, 410))
    assert liveness.peer_count("s") == 313, "another speaks now"
    report(liveness, "n", names(400, 410), at=1000.0 + SPEAKING)
    assert liveness.peer_count("s") == 323, "the other has gone"


def test_what_two_identities_hear_has_as_many_places_as_ever() -> None:
    liveness = Liveness()
    for node_id in ("n", "m"):
        report(liveness, node_id)
    for turn in range(10):
        for node_id in ("n", "m"):
            report(liveness, node_id, names(0, 300), at=1000.0 + turn)
    assert liveness.peer_count("s") == 302
    assert liveness.presence.stores["s"].claims == {}


def test_a_peer_that_speaks_itself_is_confirmed() -> None:
    liveness = Liveness()
    report(liveness, "n", {"p": 999.0})
    assert [one[0] for one in liveness.last_heard("s", "m")] == ["n"]
    report(liveness, "p")
    assert [one[0] for one in liveness.last_heard("s", "m")] == ["p", "n"]


def test_invented_peers_come_last_in_a_view_that_does_not_hold_all() -> None:
    """One report of 1,000 names pushed all honest peers out of the view."""
    liveness = Liveness()
    honest = [f"n{number}" for number in range(20)]
    for node_id in honest:
        report(liveness, node_id, {"quiet": 999.0})
    for liar in ("l1", "l2"):
        report(liveness, liar, names(0, 60), at=1001.0)  # confirmed by two that vouch for each other
    report(liveness, "l3", names(100, 160), at=1002.0)
    shown = [peer.peer_id for peer in liveness.view("s", most=24).peers]
    assert set(honest) < set(shown)
    shown = [peer.peer_id for peer in liveness.view("s", most=90).peers]
    assert "quiet" in shown
    assert sum(one in names(100, 160) for one in shown) == 90 - 24 - 60


STEPS = st.lists(st.tuples(st.integers(0, 3), st.sets(st.integers(0, 9), max_size=6), st.booleans()), max_size=30)


@given(STEPS)
def test_the_claims_of_an_identity_are_its_unconfirmed_peers(steps: list[tuple[int, set[int], bool]]) -> None:
    liveness, now = Liveness(), 1000.0
    by, spoke = dict[str, set[int]](), set[str]()
    for identity, peers, is_heard in steps:
        now += 1.0
        me = f"p{identity}"
        spoke.add(me)
        report(liveness, me, {f"p{one}": now if is_heard else NEVER for one in peers}, at=now)
        for one in peers - {identity}:
            if is_heard or f"p{one}" not in by:
                by.setdefault(f"p{one}", set()).add(identity)
    table, store = liveness.presence.table, liveness.presence.stores.get("s")
    namers = {peer_id: table.namers[row] for peer_id, row in store.index.items()} if store else {}
    assert all(bool(namers[one]) == (one not in spoke and len(by[one]) < 2) for one in namers)
    assert Counter(filter(None, namers.values())) == Counter(store.claims if store else {})


def test_an_unconfirmed_peer_is_online_as_long_as_it_is_heard() -> None:
    liveness = Liveness()
    report(liveness, "m")
    report(liveness, "n", {"p": 1000.0})
    assert liveness.counts().peers[PeerState.ONLINE] == 3
