"""The worked examples of ALGORITHM, section Knowledge."""

from __future__ import annotations

from gossipcontrol.server.core.knowledge.answer import at_risk, holders, knowledge, lags, positions, unshared
from gossipcontrol.server.core.knowledge.event import Member
from gossipcontrol.server.core.knowledge.intention import Intention
from gossipcontrol.server.core.knowledge.parameter import KnowledgeParameters
from gossipcontrol.server.core.knowledge.record import PeerLag
from gossipcontrol.server.core.knowledge.tracker import Recorded, Tracker


def one(name: str, prev: str = "", *seen: str, ack: bool = False, life: str = "") -> Intention:
    """Intention ``alice2`` is by alice."""
    author = name.rstrip("0123456789'")
    return Intention(author, name.encode(), prev.encode(), tuple(each.encode() for each in seen), ack, life)


def track(*intentions: Intention) -> Tracker:
    tracker = Tracker()
    tracker.record(intentions, 100.0)
    return tracker


def held(tracker: Tracker, peer: str) -> list[str]:
    return [position.hash.decode() for position in knowledge(tracker, peer).positions]


def lag(tracker: Tracker, peer: str) -> PeerLag:
    return next(lags(tracker, [peer]))


def stable(tracker: Tracker) -> list[str]:
    return [position.hash.decode() for position in positions(tracker, tracker.frontier())]


def test_two_authors() -> None:
    tracker = track(one("alice1"), one("alice2", "alice1"), one("bob1", "", "alice1"))
    assert held(tracker, "alice") == ["alice2"]
    assert held(tracker, "bob") == ["alice1", "bob1"]
    assert stable(tracker) == ["alice1"]
    assert lag(tracker, "bob").authors == (("alice", 1),)
    assert lag(tracker, "alice").authors == (("bob", 1),)


def test_transitive_through_a_third() -> None:
    tracker = track(one("alice1"), one("bob1", "", "alice1"), one("carol1", "", "bob1"))
    assert held(tracker, "carol") == ["alice1", "bob1", "carol1"]
    assert holders(tracker, b"alice1") == ["alice", "bob", "carol"]
    assert holders(tracker, b"bob1") == ["bob", "carol"]


def test_deep_transitive_through_chains_and_dependencies() -> None:
    links = [one("p0")]
    for number in range(1, 200):
        # Every tenth is the successor of its author's last; the others see the one before only.
        prev = f"p{number - 10}" if number % 10 == 0 else ""
        links.append(one(f"p{number}", prev, f"p{number - 1}")._replace(author_id=f"a{number if not prev else 0}"))
    links[0] = links[0]._replace(author_id="a0")
    tracker = track(*links)
    assert knowledge(tracker, "a199").held == 200
    assert knowledge(tracker, "a0").held == 191


def test_an_acknowledgement_proves_and_is_no_lag() -> None:
    tracker = track(one("alice1"), one("bob1", "", "alice1", ack=True))
    assert holders(tracker, b"alice1") == ["alice", "bob"]
    assert lag(tracker, "alice").behind == 0
    assert held(tracker, "alice") == ["alice1"]


def test_a_fork_is_kept_flagged_and_raises_no_bound() -> None:
    fork = (one("alice1"), one("alice2", "alice1"), one("alice2'", "alice1"), one("alice3", "alice2"))
    tracker = track(*fork, one("bob1", "", "alice2'"), one("carol1", "", "alice3"))
    assert held(tracker, "alice") == ["alice2'", "alice3"]
    assert held(tracker, "bob") == ["alice2'", "bob1"], "position 2 of one branch is no proof of the other"
    assert held(tracker, "carol") == ["alice3", "carol1"]
    assert stable(tracker) == ["alice1"], "the branches have nothing in common but the trunk"
    assert lag(tracker, "bob").authors == (("alice", 2), ("carol", 1))
    assert knowledge(tracker, "alice").forks == 1


def test_a_peer_that_lost_its_data_starts_anew_and_visibly() -> None:
    tracker = track(one("alice1"), one("bob1", "", "alice1"))
    assert stable(tracker) == ["alice1"]
    tracker.record([one("bob1'", life="2")], 200.0)
    shown = knowledge(tracker, "bob")
    assert (shown.incarnation, shown.lives, held(tracker, "bob")) == ("2", 2, ["bob1'"])
    assert stable(tracker) == []
    tracker.record([one("bob2'", "bob1'", "bob1", life="2")], 300.0)
    assert held(tracker, "bob") == ["alice1", "bob1", "bob2'"]
    assert stable(tracker) == ["alice1"]
    assert knowledge(tracker, "alice").forks == knowledge(tracker, "bob").forks == 0


def test_what_an_older_life_proved_does_not_count_even_when_it_comes_late() -> None:
    tracker = track(one("alice1"), one("bob1'", life="2"), one("bob1", "", "alice1"))
    assert held(tracker, "bob") == ["bob1'"]


def test_an_announced_loss_resets_before_anything_is_authored() -> None:
    tracker = track(one("alice1"), one("bob1", "", "alice1"))
    tracker.change_members([Member("bob", "2")], [])
    assert held(tracker, "bob") == []
    assert knowledge(tracker, "bob").lives == 2


def test_what_floats_proves_nothing_until_it_is_resolved() -> None:
    tracker = track(one("bob2", "bob1", "alice1"), one("alice1"))
    assert (len(tracker.floating), tracker.peers()) == (1, ["alice"])
    assert tracker.record([one("bob1")], 100.0) == Recorded(new=1)
    assert (len(tracker.floating), held(tracker, "bob")) == (0, ["alice1", "bob2"])


def test_only_active_peers_hold_the_frontier_back() -> None:
    tracker = track(one("alice1"), one("bob1", "", "alice1"), one("dead1"))
    tracker.change_members([Member("silent")], [])
    assert stable(tracker) == []
    tracker.change_members([], ["dead", "silent"])
    assert stable(tracker) == ["alice1"]
    assert [lag(tracker, peer).active for peer in ("alice", "dead")] == [True, False]
    tracker.change_members([Member("dead")], [])
    assert stable(tracker) == []


def test_a_predecessor_of_another_author_is_refused() -> None:
    tracker = track(one("alice1"))
    assert tracker.record([one("bob1", "alice1"), one("bob2", "alice9"), one("alice9", "alice1")], 1.0) == Recorded(
        new=2, invalid=2
    )
    assert tracker.peers() == ["alice"]


def test_data_at_risk_is_what_one_peer_at_most_holds() -> None:
    tracker = track(one("alice1"), one("alice2", "alice1"), one("bob1", "", "alice1"))
    assert at_risk(tracker) == 2
    tracker.record([one("bob2", "bob1", "alice2", ack=True)], 1.0)
    assert at_risk(tracker) == 1
    tracker.change_members([], ["bob"])
    assert at_risk(tracker) == 3, "a removed peer holds nothing safe, and bob1 is known to alice by nobody's word"


def test_writes_that_nobody_else_holds_have_an_age() -> None:
    tracker = track(one("alice1"), one("bob1"))
    tracker.record([one("alice2", "alice1"), one("alice3", "alice2", ack=True)], 150.0)
    tracker.record([one("alice4", "alice3")], 200.0)
    assert [(each.author_id, each.writes, each.oldest_at) for each in unshared(tracker, "s", 160.0)] == [
        ("alice", 2, 100.0),
        ("bob", 1, 100.0),
    ]
    tracker.record([one("bob2", "bob1", "alice2")], 210.0)
    assert [(each.author_id, each.writes) for each in unshared(tracker, "s", 200.0)] == [("alice", 1), ("bob", 1)]
    assert [each.author_id for each in unshared(tracker, "s", 160.0)] == ["bob"]
    tracker.change_members([], ["bob"])
    assert list(unshared(tracker, "s", 1000.0)) == [], "there is nobody who could hold them"


def test_floating_is_bounded_and_the_oldest_is_given_up() -> None:
    tracker = Tracker(KnowledgeParameters(floating_limit=6))
    for number in range(2, 7):
        tracker.record([one(f"alice{number}", f"alice{number - 1}", "bob1")], 1.0)
    assert [each.hash for each in tracker.floating.intentions()] == [b"alice4", b"alice5", b"alice6"]
    assert tracker.floating.dropped == 2
    tracker.record([one("bob1"), one("alice1")], 1.0)
    tracker.record([one("alice2", "alice1", "bob1"), one("alice3", "alice2", "bob1")], 1.0)
    assert (held(tracker, "alice"), len(tracker.floating)) == (["alice6", "bob1"], 0), "they can be recorded again"


def test_what_finds_no_room_is_refused_and_changes_nothing() -> None:
    tracker = Tracker(KnowledgeParameters(chain_limit=2, intention_limit=3))
    assert tracker.record([one("alice1"), one("bob1"), one("carol1")], 1.0) == Recorded(new=2, refused=1)
    assert tracker.record([one("alice2", "alice1"), one("alice3", "alice2")], 1.0) == Recorded(new=1, refused=1)
    assert tracker.peers() == ["alice", "bob"]


def test_an_author_that_forks_without_end_takes_no_room_from_others() -> None:
    tracker = Tracker(KnowledgeParameters(branch_limit=3))
    lives = [one(f"alice{number}", life=str(number)) for number in range(5)]
    assert tracker.record(lives, 1.0) == Recorded(new=3, refused=2)
    assert tracker.record([one("bob1"), one("alice8", "alice2", life="2")], 1.0) == Recorded(new=2)
