"""Whom a start names: bounded per peer, spread over the fresh ones."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Collection

from gossipcontrol.server.core.deciding.bootstrap import NamingRate
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.core.deciding.registry import CONFIRM_TIME
from gossipcontrol.server.core.deciding.rejoin import BRIDGE
from gossipcontrol.server.core.decision import Capability, Cause
from gossipcontrol.server.core.event import (
    AddressesProved,
    ChangeKind,
    ForgetRequested,
    LivenessReported,
    NetworkChanged,
    NodeAttached,
    RejoinRequested,
    SyncFinished,
)
from gossipcontrol.server.core.finding import StartSync
from gossipcontrol.server.core.turn import Fact
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kit.core_lab import Lab


def storm(peers: int, nodes: int, waits: list[float]) -> Lab:
    """Many nodes of one store rejoin while some peers speak, and the nodes themselves have been quiet for long."""
    lab = Lab(Parameters(rate=1000.0, burst=1000))
    for number in range(nodes):
        lab.handle(NodeAttached(f"n{number}", "s", ("a",)))
    lab.advance(40)
    for number in range(peers):
        lab.handle(LivenessReported(f"p{number}", "a"))
    for wait in waits:
        lab.advance(wait)
        for number in range(nodes):
            lab.answer(RejoinRequested(f"n{number}"))
    lab.advance(60)
    return lab


@given(st.integers(0, 40), st.integers(1, 30), st.lists(st.floats(0, 3), min_size=1, max_size=6))
@settings(max_examples=150, deadline=None)
def test_no_peer_is_named_in_more_than_ten_joins_per_second(peers: int, nodes: int, waits: list[float]) -> None:
    named: defaultdict[str, list[float]] = defaultdict(list)
    for at, start in storm(peers, nodes, waits).starts:
        assert len(start.bootstrap) <= 3
        assert start.node_id not in {peer.peer_id for peer in start.bootstrap}
        for peer in start.bootstrap:
            named[peer.peer_id].append(at)
    for times in named.values():
        for index, at in enumerate(times):
            assert bisect_right(times, at + 1.0 - 1e-6) - index <= 10


def test_across_a_partition_the_other_side_comes_first_and_leaves_room(lab: Lab) -> None:
    lab.attach("n")
    lab.attach("observer")
    lab.handle(LivenessReported("observer", "a", {f"p{n}": lab.now - n for n in range(5)}))
    lab.answer(RejoinRequested("n", ("a",), Cause.PARTITION, bridge=("far", "far", "n", "further", "furthest")))
    ((_, start),) = lab.starts
    assert [peer.peer_id for peer in start.bootstrap][:2] == ["far", "further"]
    assert len(start.bootstrap) == 3
    assert start.bootstrap[2].peer_id in {"observer", "p0"}


def test_a_retry_still_knows_the_other_side(lab: Lab) -> None:
    lab.handle(NodeAttached("n", "s", ("a",), capabilities=frozenset(Capability)))
    lab.attach("observer")
    lab.answer(RejoinRequested("n", ("a",), Cause.PARTITION, bridge=("far",)))
    lab.finish(error="no route", retry_in=1.0)
    lab.advance(30)
    assert len(lab.starts) == 2
    assert {start.bootstrap[0].peer_id for _, start in lab.starts} == {"far"}


def test_a_trigger_names_no_more_of_the_other_side_than_is_kept(lab: Lab) -> None:
    lab.attach("n")
    lab.answer(RejoinRequested("n"))
    lab.answer(RejoinRequested("n", cause=Cause.PARTITION, bridge=tuple(f"far{n}" for n in range(1000))))
    (saved,) = [one for one in lab.core.save()["history"]["rejoins"] if one.get("bridge")]
    assert saved["bridge"] == [f"far{n}" for n in range(BRIDGE)]


@given(st.lists(st.floats(0, 0.3), min_size=20, max_size=60))
@settings(max_examples=50, deadline=None)
def test_the_other_side_is_never_named_too_often_either(waits: list[float]) -> None:
    lab = Lab(Parameters(rate=1000.0, burst=1000))
    named: list[float] = []
    for number, wait in enumerate(waits):
        lab.handle(NodeAttached(f"n{number}", "s", ("a",)))
        lab.answer(RejoinRequested(f"n{number}", ("a",), Cause.PARTITION, bridge=("far", "further")))
        lab.advance(wait)
    named = [at for at, start in lab.starts if "far" in {peer.peer_id for peer in start.bootstrap}]
    assert named
    for index, at in enumerate(named):
        assert bisect_right(named, at + 1.0 - 1e-6) - index <= 10


def test_the_load_spreads_evenly_over_the_fresh_peers() -> None:
    lab = storm(peers=30, nodes=60, waits=[1.0])
    starts = [start for _, start in lab.starts if start.causes == (Cause.MANUAL,)]
    named = Counter(peer.peer_id for start in starts for peer in start.bootstrap)
    assert sum(named.values()) == 180
    fresh = [named[f"p{number}"] for number in range(30)]
    assert max(fresh) - min(fresh) <= 1


def test_stale_peers_are_named_only_when_fresh_ones_do_not_suffice() -> None:
    lab = Lab()
    lab.attach()
    lab.handle(LivenessReported("n", "a", {"old": lab.now - 100, "new": lab.now - 5}))
    lab.answer(RejoinRequested("n"))
    assert [peer.peer_id for peer in lab.starts[0][1].bootstrap] == ["new", "old"]


def test_a_neighbour_that_lives_after_the_trigger_is_not_named() -> None:
    lab = Lab()
    lab.attach()
    lab.answer(RejoinRequested("n"))
    lab.advance(1)
    lab.answer(RejoinRequested("n"))
    lab.advance(0.1)
    lab.neighbor_up("p")
    for observer in ("m", "o"):
        lab.handle(LivenessReported(observer, "a", {"q": lab.now}))
    lab.advance(10)
    assert "p" not in {peer.peer_id for peer in lab.starts[1][1].bootstrap}
    assert "q" in {peer.peer_id for peer in lab.starts[1][1].bootstrap}


def test_the_books_hold_nothing_older_than_a_second() -> None:
    load = NamingRate(10)
    for number in range(1000):
        load.forget(number * 0.1)
        load.name(f"p{number}", number * 0.1)
        assert len(load) <= 11
    assert load.of("p999", 99.95) == 1
    assert load.of("p999", 100.9) == 0


def hear(lab: Lab, observer: str, *peer_ids: str, speaker: str = "") -> None:
    lab.handle(LivenessReported(observer, "a", dict.fromkeys(peer_ids, lab.now), speaker=speaker))


def named(lab: Lab, node_id: str) -> set[str]:
    """Whom a rejoin of the node names now."""
    lab.advance(7)
    lab.answer(RejoinRequested(node_id))
    return {peer.peer_id for peer in lab.starts[-1][1].bootstrap}


def test_what_one_identity_invents_is_named_to_nobody_else(lab: Lab) -> None:
    """One report that named 300 peers took 90 of 90 places."""
    for node_id in ("n", "m", "liar"):
        lab.attach(node_id)
    hear(lab, "liar", *(f"fake{number}" for number in range(300)))
    assert named(lab, "n") == {"m", "liar"}
    hear(lab, "liar", *(f"fake{number}" for number in range(300)))
    assert any(peer_id.startswith("fake") for peer_id in named(lab, "liar")), "it sends only itself astray"


def test_nodes_of_one_identity_do_not_confirm_what_they_name(lab: Lab) -> None:
    lab.attach("n")
    lab.handle(NodeAttached("l1", "s", ("a",), speaker="liar"))
    for observer in ("l1", "l2"):
        hear(lab, observer, "fake", speaker="liar")
    assert named(lab, "n") == {"l1", "l2"}
    hear(lab, "m", "fake")
    known = [peer_id for peer_id, *_ in lab.core.liveness.last_heard("a", "n")]
    assert "fake" in known, "another identity hears it too"


def test_a_lone_agent_has_the_peers_that_nobody_else_can_hear(lab: Lab) -> None:
    lab.attach("n")
    hear(lab, "n", "p", "q")
    assert named(lab, "n") == {"p", "q"}


def test_peers_that_speak_come_before_those_that_others_hear(lab: Lab) -> None:
    for node_id in ("n", "m", "o", "l1", "l2"):
        lab.attach(node_id)
    for observer in ("l1", "l2"):
        hear(lab, observer, "fake1", "fake2", "fake3")
    assert not {"fake1", "fake2", "fake3"} & named(lab, "n"), "two that vouch for each other"


def test_who_speaks_more_often_is_not_named_more_often(lab: Lab) -> None:
    nodes = [f"p{number}" for number in range(9)]
    lab.attach("n")
    times = Counter[str]()
    for _ in range(60):
        for node_id in nodes:
            lab.handle(LivenessReported(node_id, "a"))
        for _ in range(10):
            lab.advance(0.1)
            lab.handle(LivenessReported("loud", "a"))
        times.update(named(lab, "n"))
    assert times["loud"] < 40, "its share of 3 places is 18"


@given(st.sets(st.integers(0, 44), min_size=1, max_size=8), st.floats(0.1, 1.9), st.booleans())
@settings(max_examples=10, deadline=None)
def test_how_often_a_peer_is_heard_changes_no_choice(hasty: set[int], gap: float, speak: bool) -> None:
    """Ten of 1,000 nodes that reported 20 times as often as the others had 7 % of the places."""
    assert choices(hasty, gap, speak) == choices(set(), gap, speak)


def choices(hasty: set[int], gap: float, speak: bool) -> list[list[str]]:
    """Whom rejoins name while all peers report every 2 s, or are heard, and some once more ``gap`` after that."""
    lab, found = Lab(), list[list[str]]()
    lab.attach("n")
    nodes = [f"p{number}" for number in range(45)]
    more = [f"p{number}" for number in sorted(hasty)]
    for turn in range(10):
        hear_all(lab, nodes, speak)
        lab.advance(gap)
        hear_all(lab, more, speak)
        if turn % 4 == 1:
            lab.answer(RejoinRequested("n"))
            found.append([peer.peer_id for peer in lab.starts[-1][1].bootstrap])
        lab.advance(2.0 - gap)
    return found


def hear_all(lab: Lab, peer_ids: Collection[str], speak: bool) -> None:
    """Each of the peers reports, or two others hear all of them."""
    for observer in peer_ids if speak else ("o", "o2"):
        lab.handle(LivenessReported(observer, "a", {} if speak else dict.fromkeys(peer_ids, lab.now)))


def test_who_fell_silent_is_not_named_while_others_are_online(lab: Lab) -> None:
    lab.attach("n")
    nodes = [f"p{number}" for number in range(100)]
    for turn in range(14):
        for node_id in nodes if turn < 4 else nodes[:4]:
            lab.handle(LivenessReported(node_id, "a"))
        lab.advance(2.0)
    lab.answer(RejoinRequested("n"))
    assert {peer.peer_id for peer in lab.starts[-1][1].bootstrap} < set(nodes[:4])


def doubt(lab: Lab, node_id: str, *addresses: str, matched: bool = False, speaker: str | None = None) -> None:
    """Register a node of an identity whose stream comes from elsewhere."""
    able, doubtful = frozenset({Capability.SYNC_WITH_PEER}), () if matched else addresses
    lab.handle(
        NodeAttached(
            node_id,
            f"s-{node_id}",
            ("a",),
            capabilities=able,
            addresses=addresses,
            speaker=node_id if speaker is None else speaker,
            doubtful=doubtful,
            matched=matched,
        )
    )


def addresses(lab: Lab, node_id: str) -> tuple[str, ...]:
    """The addresses with which a rejoin of the node n names another."""
    lab.advance(7)
    lab.answer(RejoinRequested("n"))
    return next(peer.addresses for peer in lab.starts[-1][1].bootstrap if peer.peer_id == node_id)


def reach(lab: Lab, node_id: str, peer_id: str, speaker: str) -> None:
    """A node that is asked to sync with another reaches it."""
    nonce = lab.core.asked_syncs.ask(node_id, "a", peer_id, lab.now)
    lab.handle(SyncFinished(node_id, "a", peer_id, True, nonce=nonce, speaker=speaker))


def test_nobody_is_sent_to_an_address_that_may_be_somebody_elses(lab: Lab) -> None:
    """Everybody dialled the 16 addresses that a stranger had registered."""
    doubt(lab, "n", "10.0.0.1:1", matched=True)
    doubt(lab, "m", "10.0.0.9:1")
    assert addresses(lab, "m") == () == lab.core.addresses("m")
    reach(lab, "m2", "m", "m")
    assert addresses(lab, "m") == (), "the word of its own identity"
    reach(lab, "n", "m", "n")
    assert addresses(lab, "m") == ("10.0.0.9:1",) == lab.core.addresses("m")
    doubt(lab, "m", "10.0.0.9:1")
    assert addresses(lab, "m") == ("10.0.0.9:1",), "registered again"
    doubt(lab, "m", "10.0.0.8:1")
    assert addresses(lab, "m") == (), "it says that it moved"


def test_where_no_stream_comes_from_an_address_of_its_node_nothing_is_compared(lab: Lab) -> None:
    """A proxy or a router stands before the service."""
    doubt(lab, "n", "10.0.0.1:1")
    doubt(lab, "m", "10.0.0.9:1")
    assert addresses(lab, "m") == ("10.0.0.9:1",)
    doubt(lab, "o", "10.0.0.5:1", matched=True)
    assert addresses(lab, "m") == ()
    lab.detach("o", "s-o")
    lab.handle(ForgetRequested("o"))
    assert addresses(lab, "m") == ("10.0.0.9:1",)


def test_a_proof_of_addresses_is_kept_over_a_restart() -> None:
    lab = Lab()
    doubt(lab, "n", "10.0.0.1:1", matched=True)
    doubt(lab, "m", "10.0.0.9:1")
    nonce = lab.core.asked_syncs.ask("n", "a", "m", lab.now)
    turn = lab.turn(SyncFinished("n", "a", "m", True, nonce=nonce, speaker="n"))
    assert [fact.event for fact in turn.facts if isinstance(fact, Fact)] == [AddressesProved("m")]
    again = Lab().core
    again.load(lab.core.save())
    assert again.addresses("m") == ("10.0.0.9:1",)
    assert again.deciding.registry.matched == 1


def test_an_address_is_named_at_most_ten_times_a_second_whoever_registers_it() -> None:
    lab = Lab(Parameters(rate=1000.0, burst=1000))
    for number in range(30):
        doubt(lab, f"n{number}", f"10.0.1.{number}:1", "https://relay.example/", matched=True)
    for number in range(30):
        doubt(lab, f"liar{number}", "10.0.0.9:1", "https://relay.example/", matched=True, speaker="liar")
    for number in range(30):
        lab.answer(RejoinRequested(f"n{number}"))
    lab.advance(3)
    assert len(lab.starts) == 30
    times = [at for at, start in lab.starts if any("10.0.0.9:1" in peer.addresses for peer in start.bootstrap)]
    assert 0 < len([at for at in times if at < times[0] + 1.0 - 1e-6]) <= 10
    assert all(len(start.bootstrap) == 3 for _, start in lab.starts), "a relay is not limited like that"


def site(lab: Lab) -> None:
    """The node n, and the peers p and q that it heard, each on a host of its own."""
    for number, node_id in enumerate(("n", "p", "q")):
        register(lab, node_id, f"10.0.0.{number}:1")
    lab.handle(LivenessReported("n", "a", {"p": lab.now - 1, "q": lab.now - 2}))


def register(lab: Lab, node_id: str, *addresses: str) -> None:
    """Register a node, first or again, on one stream."""
    able = frozenset({Capability.SYNC_WITH_PEER})
    lab.handle(NodeAttached(node_id, f"s-{node_id}", ("a",), f"h-{node_id}", able, addresses))


def move(lab: Lab, node_id: str, generation: int = 1, kind: ChangeKind = ChangeKind.CHANGED) -> None:
    lab.handle(NetworkChanged(f"h-{node_id}", kind=kind, generation=generation, boot_id="b"))


def hints(lab: Lab) -> dict[str, tuple[str, ...]]:
    """Whom the node n would be told to dial now, and where."""
    lab.handle(LivenessReported("n", "a", {"p": lab.now - 1, "q": lab.now - 2}))
    lab.advance(lab.parameters.window)
    lab.answer(RejoinRequested("n"))
    lab.advance(lab.parameters.window)
    start = [start for _, start in lab.starts if start.node_id == "n" and Cause.MANUAL in start.causes][-1]
    return {peer.peer_id: peer.addresses for peer in start.bootstrap}


def test_a_hint_names_no_address_from_before_the_peers_own_last_change() -> None:
    lab = Lab()
    site(lab)
    assert hints(lab) == {"p": ("10.0.0.1:1",), "q": ("10.0.0.2:1",)}
    move(lab, "p")
    assert hints(lab) == {"p": (), "q": ("10.0.0.2:1",)}
    assert lab.core.addresses("p") == ()
    register(lab, "p", "192.168.50.1:1")
    assert hints(lab) == {"p": ("192.168.50.1:1",), "q": ("10.0.0.2:1",)}
    move(lab, "p", generation=1)
    assert hints(lab)["p"] == ("192.168.50.1:1",), "the second watcher of a host tells nothing new"
    move(lab, "p", generation=2, kind=ChangeKind.RESUMED)
    assert hints(lab)["p"] == (), "a host may wake elsewhere"


def test_addresses_that_nobody_confirms_are_better_than_none_after_a_minute_or_when_the_stream_ended() -> None:
    lab = Lab()
    site(lab)
    lab.detach("q", "s-q")
    assert hints(lab) == {"p": ("10.0.0.1:1",), "q": ()}
    move(lab, "p")
    assert hints(lab) == {"p": (), "q": ("10.0.0.2:1",)}, "the network of q is not known to have changed"
    lab.advance(CONFIRM_TIME)
    assert hints(lab) == {"p": ("10.0.0.1:1",), "q": ("10.0.0.2:1",)}


def test_the_neighbours_of_a_node_that_moved_are_asked_to_sync_with_it() -> None:
    lab = Lab()
    site(lab)
    lab.neighbor_up("p")
    lab.neighbor_up("stranger")
    lab.findings.clear()
    register(lab, "n", "10.0.0.0:1")
    assert [one for one in lab.findings if isinstance(one, StartSync)] == [], "nothing new"
    register(lab, "n")
    assert [one for one in lab.findings if isinstance(one, StartSync)] == [], "nowhere to be found"
    register(lab, "n", "192.168.50.1:1")
    assert [one for one in lab.findings if isinstance(one, StartSync)] == [StartSync("p", "a", "n", nonce=1)]
