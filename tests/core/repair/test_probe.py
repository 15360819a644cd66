"""Which node probes which peer across a partition."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from gossipcontrol.server.core.repair.probe import MAX_ATTEMPT_RATE, PartitionProber
from hypothesis import given
from hypothesis import strategies as st


def attempts(sides: Sequence[list[str]], capable: set[str], count: int) -> list[tuple[float, tuple[str, str]]]:
    prober, now, found = PartitionProber(2.0), 0.0, list[tuple[float, tuple[str, str]]]()
    prober.set_sides(sides, capable)
    while len(found) < count:
        pair = prober.attempt(capable, now)
        if pair is not None:
            found.append((now, pair))
        assert prober.next_at > now
        now = prober.next_at
    return found


@given(st.lists(st.integers(1, 6), min_size=2, max_size=4))
def test_in_time_every_node_probes_every_peer_of_every_other_side(sizes: list[int]) -> None:
    sides = [[f"{side}{n}" for n in range(size)] for side, size in zip("abcd", sizes, strict=False)]
    everybody = {node_id for side in sides for node_id in side}
    wanted = {(one, other) for one in everybody for other in everybody if one[0] != other[0]}
    tried = {pair for _, pair in attempts(sides, everybody, len(sides) * sum(sizes) ** 2)}
    assert tried == wanted


@given(
    st.lists(st.lists(st.integers(0, 9), min_size=2, max_size=10), min_size=1, max_size=30),
    st.floats(0.5, 5.0),
)
def test_a_side_probes_at_most_once_per_interval_however_the_sides_change(
    splits: list[list[int]], interval: float
) -> None:
    prober, now, capable = PartitionProber(interval), 0.0, {f"n{n}" for n in range(10)}
    last: dict[str, float] = {}
    for split in splits:
        sides = [[f"n{n}" for n in range(10) if split[n % len(split)] % 3 == side] for side in range(3)]
        sides = [side for side in sides if side]
        if len(sides) < 2:
            continue
        prober.set_sides(sides, capable)
        for _ in range(5):
            pair = prober.attempt(capable, now)
            if pair is not None:
                (side,) = [one for one in sides if pair[0] in one]
                assert pair[1] not in side
                assert all(now - last.get(node_id, -100.0) >= interval - 1e-6 for node_id in side)
                last[pair[0]] = now
            now = max(now, prober.next_at)


def test_only_capable_nodes_probe() -> None:
    sides = [["a1", "a2"], ["b1", "b2"]]
    assert {pair[0] for _, pair in attempts(sides, {"a2"}, 6)} == {"a2"}
    prober = PartitionProber(2.0)
    prober.set_sides(sides, set())
    assert prober.attempt(set(), 5.0) is None
    assert prober.next_at == 7.0
    prober.set_sides(sides, {"a1", "b1"})
    tried = [pair for now in (7.0, 8.0, 9.0, 10.0) if (pair := prober.attempt({"b1"}, now))]
    assert [node_id for node_id, _ in tried] == ["b1", "b1"], "the other has gone since"


@pytest.mark.parametrize("count", [3, 64, 65, 1000])
def test_all_sides_take_turns_and_the_rate_of_a_store_is_bounded(count: int) -> None:
    sides = [[f"n{number}"] for number in range(count)]
    capable = {side[0] for side in sides}
    prober, now, found = PartitionProber(2.0), 0.0, list[tuple[float, str]]()
    while len(found) < 3 * count:
        if len(found) % 32 == 0:
            prober.set_sides(sides, capable)  # about as often as a store is evaluated
        pair = prober.attempt(capable, now)
        found += [(now, pair[0])] if pair else []
        now = prober.next_at
    for turn in range(3):
        assert {node_id for _, node_id in found[turn * count : (turn + 1) * count]} == capable
    gap = max(2.0 / count, 1 / MAX_ATTEMPT_RATE)
    assert all(later - at == pytest.approx(gap) for (at, _), (later, _) in pairwise(found))


def test_an_attempt_reads_no_other_side() -> None:
    sides = [[f"n{number}"] for number in range(100)]
    capable = Asked(side[0] for side in sides)
    prober = PartitionProber(2.0)
    prober.set_sides(sides, capable)
    capable.count = 0
    prober.attempt(capable, 0.0)
    assert capable.count == 1


class Asked(set[str]):
    """A set that counts how often it was asked."""

    count = 0

    def __contains__(self, one: object) -> bool:
        self.count += 1
        return super().__contains__(one)


def test_a_side_that_was_never_linked_probes_and_is_not_probed() -> None:
    prober, sides = PartitionProber(2.0), [["a", "b"], ["f", "g"], ["c"]]
    everybody, now, tried = {"a", "b", "c", "f", "g"}, 0.0, set[tuple[str, str]]()
    prober.set_sides(sides, everybody, strange={1})
    for _ in range(60):
        if (pair := prober.attempt(everybody, now)) is not None:
            tried.add(pair)
        now = prober.next_at
    known = {("a", "c"), ("b", "c"), ("c", "a"), ("c", "b")}
    assert tried == known | {(one, other) for one in "fg" for other in "abc"}


def test_where_only_strange_sides_are_left_the_main_side_probes_nobody() -> None:
    prober, tried, now = PartitionProber(2.0), set[tuple[str, str]](), 0.0
    prober.set_sides([["a", "b"], ["f"]], {"a", "b", "f"}, strange={1})
    for _ in range(9):
        if (pair := prober.attempt({"a", "b", "f"}, now)) is not None:
            tried.add(pair)
        now = prober.next_at
    assert tried == {("f", "a"), ("f", "b")}
