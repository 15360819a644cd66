"""Which pairs are due, the most overdue first."""

from __future__ import annotations

from collections.abc import Sequence

from gossipcontrol.server.core.repair.pairs import Pairs
from hypothesis import given, settings
from hypothesis import strategies as st


def test_the_pairs_of_a_newcomer_are_due_evenly_spread() -> None:
    pairs = Pairs()
    for node_id in "abcd":
        pairs.add(node_id, 10.0, 40.0)
    assert len(pairs) == pairs.never_met == 6
    assert sorted(due.at for due in pairs.pop_due(40.0) if "d" in due) == [10.0, 20.0, 30.0]


def test_a_meeting_postpones_a_pair_and_never_brings_it_forward() -> None:
    pairs = Pairs()
    pairs.add("a", 0.0, 0.0)
    pairs.add("b", 10.0, 10.0)
    pairs.record_meeting("b", "a", 50.0)
    pairs.record_meeting("a", "b", 30.0)
    pairs.record_meeting("a", "a", 99.0)
    pairs.record_meeting("a", "stranger", 99.0)
    assert (pairs.never_met, pairs.has_met("a", "b")) == (0, True)
    assert pairs.pop_due(49.0) == []
    ((at, *both),) = pairs.pop_due(50.0)
    assert (at, sorted(both)) == (50.0, ["a", "b"])
    assert pairs.next_at() is None


steps = st.lists(
    st.tuples(
        st.sampled_from(("add", "remove", "meet", "take", "shelve", "take up")),
        st.integers(0, 7),
        st.integers(0, 7),
        st.floats(0, 20),
    ),
    max_size=60,
)


@given(steps)
@settings(max_examples=200)
def test_pairs_agree_with_a_plain_dictionary(story: Sequence[tuple[str, int, int, float]]) -> None:
    pairs, members = Pairs(), list[str]()
    met: dict[frozenset[str], float] = {}
    first: dict[frozenset[str], float] = {}
    shelved: set[frozenset[str]] = set()
    now = 1.0
    for what, a, b, wait in story:
        now += wait
        one, other = f"n{a}", f"n{b}"
        if what == "add" and one not in members:
            pairs.add(one, now + 5.0, now + 5.0)
            first |= {frozenset((one, member)): now + 5.0 for member in members}
            members.append(one)
        elif what == "remove" and one in members:
            pairs.remove([one])
            members.remove(one)
            met = {key: at for key, at in met.items() if one not in key}
            first = {key: at for key, at in first.items() if one not in key}
            shelved = {key for key in shelved if one not in key}
        elif what == "meet":
            pairs.record_meeting(one, other, now + 10.0)
            if {one, other} <= set(members) and one != other:
                met[frozenset((one, other))] = now + 10.0
        elif what == "take up" and one in members:
            pairs.unshelve(one)
            shelved = {key for key in shelved if one not in key}
        elif what in {"take", "shelve"}:
            due = pairs.pop_due(now)
            assert due == sorted(due)
            dues = first | met
            # A meeting before the first due time does not bring that forward.
            expected = {key: max(at, first[key]) for key, at in dues.items() if max(at, first[key]) <= now}
            expected = {key: at for key, at in expected.items() if key not in shelved}
            assert {frozenset((one.one, one.other)): one.at for one in due} == expected
            for aside in due[: a if what == "shelve" else 0]:
                pairs.shelve(aside)
                shelved.add(frozenset((aside.one, aside.other)))
            pairs.put_back(due[a if what == "shelve" else 0 :])
        assert len(pairs) == len(members) * (len(members) - 1) // 2 == len(first)
        assert pairs.never_met == len(first.keys() - met.keys() - shelved)
