"""Lists cost what their pages cost, and stay right while the books change between two slices."""

from __future__ import annotations

import random
from itertools import islice

import pytest
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.core.deciding.rejoin import LAST_TRIGGERS
from gossipcontrol.server.core.deciding.sorted_ids import SortedIds
from gossipcontrol.server.core.decision import Cause
from gossipcontrol.server.core.event import ForgetRequested, NodeAttached, NodeDetached, RejoinRequested

from tests.kit.core_lab import Lab


@pytest.mark.parametrize("seed", range(20))
def test_ids_are_in_order_whatever_came_and_went(seed: int) -> None:
    draw, ids, present = random.Random(seed), SortedIds(), set[str]()
    for _ in range(30):
        for _ in range(draw.randrange(400)):
            one_id = f"{draw.randrange(3000)}"
            (present.add if draw.random() < 0.6 else present.discard)(one_id)
            ids.note(one_id)
        for _ in ids.catch_up(present):
            pass
        after, count = f"{draw.randrange(3000)}", draw.randrange(1200)
        assert ids.after("", len(present) + 1) == sorted(present)
        assert ids.after(after, count) == sorted(one for one in present if one > after)[:count]


def test_catching_up_costs_what_changed_since_the_last_time() -> None:
    ids, present = SortedIds(), {f"{number}" for number in range(10_000)}
    for one_id in present:
        ids.note(one_id)
    assert len(list(ids.catch_up(present))) == 10_000
    present.remove("77")
    ids.note("77")
    assert len(list(ids.catch_up(present))) == 1
    assert ids.after("769", 2) == ["7690", "7691"]


def test_a_page_of_stores_survives_a_node_that_is_forgotten_meanwhile() -> None:
    lab = Lab()
    for number in range(30):
        lab.handle(NodeAttached(f"n{number}", "s", ("a", "b")))
    lab.handle(NodeAttached("other", "s", ("a", "b", "c")))
    scan = lab.core.catalog.scan_stores()
    found = [next(one for one in scan if one is not None)]
    for node_id in ("n7", "other"):
        lab.handle(NodeDetached(node_id, "s"))
        lab.handle(ForgetRequested(node_id=node_id))
    found += [one for one in scan if one is not None]
    assert [store.store_id for store in found] == ["a", "b"]
    assert found[1].node_count == 29


def test_a_page_of_rejoins_survives_rejoins_that_are_forgotten_meanwhile() -> None:
    lab = Lab(Parameters(history_limit=40))
    lab.handle(NodeAttached("n", "s", ("a",)))
    ids = [_skip(lab, number) for number in range(40)]
    scan = lab.core.catalog.rejoins()
    first = list(islice(scan, 5))
    for number in range(40, 75):
        _skip(lab, number)
    assert [one.rejoin_id for one in first] == ids[:-6:-1]
    kept = [one.rejoin_id for one in scan]
    assert set(kept) <= set(ids[:-5])
    assert kept == sorted(kept, key=lambda one: -int(one.rpartition("-")[2]))


def _skip(lab: Lab, number: int) -> str:
    """A rejoin that ends at once: the node does not have the store."""
    lab.handle(RejoinRequested("n", (f"unknown{number}",), Cause.MANUAL, f"q{number}"))
    return next(lab.core.catalog.rejoins()).rejoin_id


def test_a_search_by_request_looks_at_nothing_else() -> None:
    """An unknown request id used to cost a walk over all that is kept: 72 ms."""
    lab = Lab()
    lab.handle(NodeAttached("n", "s", ("a",)))
    ids = [_skip(lab, number) for number in range(200)]
    assert list(lab.core.catalog.scan_rejoins(request_id="unknown")) == []
    [found] = lab.core.catalog.scan_rejoins(request_id="q50")
    assert found is not None
    assert found.rejoin_id == ids[50]


def test_the_index_by_request_keeps_what_is_kept() -> None:
    """What a further trigger pushes out, or the history forgets, is not found; a restart changes nothing."""
    lab = Lab(Parameters(history_limit=10))
    lab.handle(NodeAttached("n", "s", ("a",)))
    lab.handle(NodeDetached("n", "s"))
    for number in range(LAST_TRIGGERS + 3):
        lab.handle(RejoinRequested("n", ("a",), Cause.MANUAL, f"q{number}"))
    known = [f"q{number}" for number in range(LAST_TRIGGERS + 3) if _find(lab, f"q{number}")]
    assert known == ["q0", *(f"q{number}" for number in range(3, LAST_TRIGGERS + 3))]
    for number in range(100, 120):
        _skip(lab, number)
    assert not _find(lab, "q100")
    assert _find(lab, "q119")
    again = Lab(Parameters(history_limit=10))
    again.core.load(lab.core.save())
    for request_id in (*known, "q1", "q100", "q119"):
        assert _find(again, request_id) == _find(lab, request_id)


def _find(lab: Lab, request_id: str) -> list[str]:
    return [one.rejoin_id for one in lab.core.catalog.rejoins(request_id=request_id)]


def test_the_next_page_begins_where_the_last_one_ended() -> None:
    lab = Lab()
    lab.handle(NodeAttached("n", "s", ("a",)))
    ids = [_skip(lab, number) for number in range(1000)]
    before, found = "", list[str]()
    while page := [one.rejoin_id for one in islice(lab.core.catalog.rejoins(before=before), 70)]:
        found += page
        before = page[-1]
    assert found == ids[::-1]
