"""Rot, by counts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from gossipcontrol.server.core.diagnosis.links import Links
from gossipcontrol.server.core.diagnosis.rot import Rot, reset_marks_across_sides
from gossipcontrol.server.core.event import LivenessReported

from tests.kit.parts import finish
from tests.kit.store_reports import PARAMETERS, Store

Count = Callable[[int, str, str], int]
"""How many messages of its peer an observer has heard after so many broadcasts."""


def compared(store: Store, links: Links, now: float) -> Rot:
    rot = Rot(store.reports, links, PARAMETERS, now)
    finish(rot.compare())
    return rot


def talk(
    store: Store, heard: Count, nodes: str = "abc", rounds: int = 24, lonely: str = "", liars: str = "", one: str = ""
) -> Rot:
    """All nodes report every 2 s and broadcast once in between; the lonely ones list no neighbours.

    Liars claim five broadcasts for each. Those in ``one`` are nodes of one identity.
    """
    rot = None
    for number in range(1, rounds + 1):
        for node_id in nodes:
            said = {peer: heard(number, node_id, peer) for peer in nodes if peer != node_id}
            neighbors = "" if node_id in lonely else nodes.replace(node_id, "")
            sent, speaker = number * (5 if node_id in liars else 1), "one" if node_id in one else ""
            store.say(2.0 * number, node_id, said, neighbors, sent, speaker)
        now = 2.0 * number + 1.0
        links = store.links(now)
        finish(reset_marks_across_sides(store.reports, links))
        rot = compared(store, links, now)
    assert rot is not None
    return rot


def everything(number: int, observer: str, author: str) -> int:
    return number


def test_counts_that_agree_prove_health() -> None:
    rot = talk(Store(), everything)
    assert [(one.node_id, one.evidence) for one in rot.outbound] == [("a", ""), ("b", ""), ("c", "")]
    assert sorted((one.node_id, one.evidence) for one in rot.inbound) == [("a", ""), ("b", ""), ("c", "")]


def test_broadcasts_that_nobody_heard_are_the_authors_rot() -> None:
    rot = talk(Store(), lambda number, observer, author: number - number // 2 if author == "a" else number)
    outbound = {one.node_id: one.evidence for one in rot.outbound}
    assert "of its" in outbound["a"]
    assert (outbound["b"], outbound["c"]) == ("", "")
    assert all(not one.evidence for one in rot.inbound)


def test_one_observer_of_several_does_not_prove_outbound_rot() -> None:
    def heard(number: int, observer: str, author: str) -> int:
        if author != "a":
            return number
        return 0 if observer == "c" else number - number // 2  # c never heard of a

    def hears_nobody(number: int, observer: str, author: str) -> int:
        return 0 if observer == "c" else heard(number, observer, author)

    assert "a" not in {one.node_id for one in talk(Store(), hears_nobody).outbound}, "c hears nobody, and cannot tell"
    assert "a" in {one.node_id for one in talk(Store(), heard).outbound}, "c is its neighbour, and hears others"
    assert "a" in {one.node_id for one in talk(Store(), heard, nodes="ab").outbound}


def test_few_losses_among_many_are_not_rot() -> None:
    rot = talk(Store(), lambda number, observer, author: number - number // 30 if author == "a" else number)
    assert all(not one.evidence for one in rot.outbound)


def test_what_others_heard_and_one_did_not_is_its_own_rot() -> None:
    rot = talk(Store(), lambda number, observer, author: number // 2 if observer == "a" else number)
    inbound = {one.node_id: one.evidence for one in rot.inbound}
    assert inbound["a"].startswith("did not hear ")
    assert inbound["a"].endswith("messages of 2 peers that others heard")
    assert all(not one.evidence for one in rot.outbound)


@pytest.mark.parametrize("counting", ["", "ab", "abc"])
def test_an_observer_without_counts_proves_no_rot_and_has_none(counting: str) -> None:
    store = Store()
    for number in range(1, 40):
        now = 2.0 * number
        for node_id in "abc":
            others = "abc".replace(node_id, "")
            counts = (number, number) if node_id in counting else ()
            heard, view = dict.fromkeys(others, now - 0.5), dict.fromkeys(others, 0.0)
            store.reports.record(LivenessReported(node_id, "notes", heard, view, number, heard_counts=counts), now)
        rot = compared(store, store.links(now + 1.0), now + 1.0)
        assert not [one for one in (*rot.outbound, *rot.inbound) if one.evidence]


def row(heard_by_d: str) -> Rot:
    """Four nodes in a row that all broadcast; all but the last name every other node."""
    store, neighbors = Store(), {"a": "b", "b": "ac", "c": "bd", "d": "c"}
    for number in range(1, 25):
        for node_id, near in neighbors.items():
            heard = heard_by_d if node_id == "d" else "abcd"
            said = {peer: number if peer in heard else 0 for peer in "abcd" if peer != node_id}
            store.say(2.0 * number, node_id, said, near, number)
    return compared(store, store.links(49.0), 49.0)


def test_an_observer_of_distant_authors_misses_one_it_never_heard() -> None:
    (found,) = [one for one in row("bc").inbound if one.evidence]
    assert found.node_id == "d"
    assert found.evidence.endswith("of 3 peers that others heard"), "of a, b and c"


def test_an_observer_that_names_only_neighbours_misses_no_other_author() -> None:
    assert [one.node_id for one in row("c").inbound if one.evidence] == []


def test_a_lost_neighbour_is_not_heard_from_afar() -> None:
    store = Store()
    for number in range(1, 25):
        for node_id in "abc":
            heard = dict.fromkeys("abc".replace(node_id, ""), number)
            store.say(2.0 * number, node_id, heard, "abc".replace(node_id, ""), number)
        # It names neighbours only: b until it loses it, then c; it never hears a.
        count = min(number, 12)
        heard = {"a": 0, "b": count, "c": number - count}
        store.say(2.0 * number, "d", heard, "b" if number <= 12 else "c", number)
    rot = compared(store, store.links(49.0), 49.0)
    evidence = {one.node_id: one.evidence for one in rot.inbound}
    assert "of 1 peers" in evidence["d"] or "of 2 peers" in evidence["d"], "of b, perhaps of c, never of a"


def test_silent_nodes_get_no_verdict() -> None:
    store = Store()
    for number in range(1, 40):
        for node_id in "abc":
            store.say(2.0 * number, node_id, {}, "abc".replace(node_id, ""), 0)
    rot = compared(store, store.links(80.0), 80.0)
    assert rot.outbound == []
    assert rot.inbound == []


def test_sides_that_do_not_hear_each_other_are_not_rotten() -> None:
    store = Store()
    for number in range(1, 60):
        for node_id in "abcdef":
            side = "abc" if node_id in "abc" else "def"
            heard = {peer: number if peer in side or number < 20 else 20 for peer in "abcdef" if peer != node_id}
            store.say(2.0 * number, node_id, heard, side.replace(node_id, ""), number)
        now = 2.0 * number + 1.0
        links = store.links(now)
        finish(reset_marks_across_sides(store.reports, links))
        rot = compared(store, links, now)
        assert all(not one.evidence for one in (*rot.outbound, *rot.inbound)), number
    assert len(store.links(119.0).sides()) == 2


def accused(rot: Rot) -> set[str]:
    return {one.node_id for one in (*rot.outbound, *rot.inbound) if one.evidence}


def vouching(accomplices: str) -> Count:
    """Everything is heard, and the accomplices say that they heard all that the liar a claims."""
    return lambda number, observer, author: 5 * number if author == "a" and observer in accomplices else number


@pytest.mark.parametrize("accomplices", ["", "b", "bc"])
def test_who_vouches_for_broadcasts_that_never_were_harms_nobody_honest(accomplices: str) -> None:
    """An author and an accomplice had 7 of 30 honest nodes rejoin, up to RESUBSCRIBE."""
    rot = talk(Store(), vouching(accomplices), nodes="abcdefgh", liars="a")
    assert accused(rot) <= {"a"}
    assert {one.node_id for one in rot.inbound if not one.evidence} >= set("defgh"), "they are well"


def test_another_node_of_the_authors_identity_proves_none_of_its_broadcasts() -> None:
    rot = talk(Store(), vouching("bc"), nodes="abcde", liars="a", one="abc")
    assert accused(rot) <= {"a"}


def misses_half(deaf: str) -> Count:
    return lambda number, observer, author: number // 2 if observer in deaf else number


@pytest.mark.parametrize("deaf", ["a", "ab"])
@pytest.mark.parametrize("nodes", ["abc", "abcd", "abcdefgh"])
@pytest.mark.parametrize("one", ["", "abcdefgh"])
def test_several_that_miss_what_others_hear_are_found(nodes: str, deaf: str, one: str) -> None:
    rot = talk(Store(), misses_half(deaf), nodes=nodes, one=one)
    if len(nodes) > len(deaf) + 1:
        assert accused(rot) == set(deaf)


def masked(by: str) -> Count:
    """Half of what a broadcasts reaches nobody, but some claim to hear all of it."""
    return lambda number, observer, author: number // 2 if author == "a" and observer not in by else number


def test_one_that_claims_to_hear_a_node_does_not_hide_its_rot() -> None:
    """It kept a mute node ONLINE and without repair for ever."""
    assert accused(talk(Store(), masked("b"), nodes="abcd")) == {"a"}
    assert accused(talk(Store(), masked("bc"), nodes="abcdefgh", one="bc")) == {"a"}, "two nodes of one identity"
    assert "a" not in accused(talk(Store(), masked("b"), nodes="abc")), "of two either may be right"


def is_sure_of_a(rot: Rot) -> bool:
    return next(one.is_sure for one in (*rot.outbound, *rot.inbound) if one.node_id == "a" and one.evidence)


def test_only_three_words_are_sure_where_three_could_tell() -> None:
    assert is_sure_of_a(talk(Store(), masked(""), nodes="ab"))
    assert is_sure_of_a(talk(Store(), masked(""), nodes="abc"))
    assert is_sure_of_a(talk(Store(), masked(""), nodes="abcd"))
    assert not is_sure_of_a(talk(Store(), masked("b"), nodes="abcd")), "two say so, and one denies it"
    assert is_sure_of_a(talk(Store(), masked("b"), nodes="abcde"))
    assert is_sure_of_a(talk(Store(), masked(""), nodes="abcdef", one="abcdef")), "nobody can tell them apart"


def test_all_that_could_tell_are_sure_of_what_a_node_missed() -> None:
    assert is_sure_of_a(talk(Store(), misses_half("a"), nodes="abcd"))
    assert is_sure_of_a(talk(Store(), misses_half("a"), nodes="abcdef", one="bcdef")), "all that could tell"


def links_of(nodes: str, hears: str) -> Links:
    """How nodes are linked, where only some hear the node a."""
    store = Store()
    for second in range(0, 30, 2):
        for node_id in nodes:
            others = nodes.replace(node_id, "")
            said = {peer: 0 if peer == "a" and node_id not in hears else 1 + second for peer in others}
            store.say(float(second), node_id, said, others, 1 + second)
    return store.links(30.0)


def mute(nodes: str, hears: str) -> set[str]:
    """Who is mute then."""
    return links_of(nodes, hears).mute


def test_a_mute_node_that_one_claims_to_hear_is_mute() -> None:
    assert mute("abcd", "") == {"a"}
    assert mute("abcd", "b") == {"a"}
    assert mute("abcd", "bc") == set()
    assert mute("abc", "b") == set(), "of two either may be right"


def test_one_that_claims_to_hear_a_mute_node_is_outvoted_by_two_on_its_side() -> None:
    assert links_of("abcd", "").outvoted == links_of("abcd", "b").outvoted == {"a"}
    assert links_of("abc", "").outvoted == set(), "of two either may be right"
