"""The peers that a node may dial: bounded, and the newest first."""

from __future__ import annotations

from gossipcontrol.iroh.peer_book import ADDRESSES, PEERS, PeerBook


def test_hints_come_first_then_who_was_named_last_and_never_the_node_itself() -> None:
    book = PeerBook()
    for peer_id in ("a", "b", "me", "c", "a"):
        book.remember(peer_id)
    assert book.first(["x", "b", "me"], 9, but="me") == ["x", "b", "a", "c"]
    assert book.first([], 2, but="me") == ["a", "c"]


def test_the_newest_address_of_each_peer_is_given_the_peer_named_last_first() -> None:
    book = PeerBook()
    for peer_id, addresses in (("a", ["10.0.0.1:1"]), ("b", []), ("c", ["10.0.0.3:1"]), ("a", ["10.0.0.9:1"])):
        book.remember(peer_id, addresses)
    assert book.newest() == ["10.0.0.9:1", "10.0.0.3:1"]


def test_newer_addresses_come_first_and_a_bounded_number_is_kept() -> None:
    book = PeerBook()
    book.remember("a", [f"old-{number}" for number in range(ADDRESSES)])
    book.remember("a", ["new", "old-3"])
    book.remember("a")
    assert book.addresses("a") == (
        "new",
        "old-3",
        "old-0",
        "old-1",
        "old-2",
        *(f"old-{number}" for number in range(4, 15)),
    )
    assert book.addresses("b") == ()


def test_the_peer_longest_unnamed_makes_room() -> None:
    book = PeerBook()
    for number in range(PEERS):
        book.remember(f"p{number}", ["x:1"])
    book.remember("p0")
    book.remember("new")
    assert book.addresses("p0") == ("x:1",)
    assert book.addresses("p1") == ()
    assert len(book.addressed()) == PEERS - 1


def test_what_is_named_while_the_peers_are_gone_through_changes_nothing_of_it() -> None:
    book = PeerBook()
    book.remember("a", ["x:1"])
    book.remember("b", ["x:2"])
    seen = list[str]()
    for peer_id, _ in book.addressed():
        book.remember("c", ["x:3"])
        seen.append(peer_id)
    assert seen == ["a", "b"]


def test_what_an_endpoint_heard_from_comes_before_what_was_given_and_changes_no_order() -> None:
    book = PeerBook()
    book.remember("a", ["hint", "older"])
    book.remember("b")
    book.learn("a", ["alive", "older"])
    book.learn("stranger", ["x"])
    assert book.addresses("a") == ("alive", "older", "hint")
    assert book.first([], 9, but="me") == ["b", "a"]
