"""Syncs that wait for a node's next report."""

from __future__ import annotations

from gossipcontrol.server.core.finding import OfferSync
from gossipcontrol.server.core.repair.sync_offers import NODES, PER_NODE, SyncOffers


def test_a_sync_waits_once_and_is_taken_once() -> None:
    offers = SyncOffers()
    for peer in ("p", "q", "p"):
        offers.add(OfferSync("n", "s", peer))
    offers.add(OfferSync("m", "s", "p"))
    assert [one.peer_id for one in offers.pop("n")] == ["p", "q"]
    assert offers.pop("n") == []
    assert len(offers.pop("m")) == 1


def test_it_is_bounded_and_the_oldest_go_first() -> None:
    offers = SyncOffers()
    for number in range(PER_NODE + 2):
        offers.add(OfferSync("n", "s", f"p{number}"))
    assert [one.peer_id for one in offers.pop("n")] == [f"p{number}" for number in range(2, PER_NODE + 2)]
    for number in range(NODES + 1):
        offers.add(OfferSync(f"n{number}", "s", "p"))
    assert offers.pop("n0") == []
    assert offers.pop("n1") != []
