"""What a node sends and hears, as the reports tell it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from gossipcontrol.agent.report_builder import ID_BYTES, OLDEST_MS, PEERS, ReportBuilder

from tests.agent.fake import Clock


def test_a_report_tells_ages_counts_and_paths() -> None:
    clock = Clock()
    tally = ReportBuilder(clock)
    tally.sent("a")
    tally.received("a", "p", direct=True)
    tally.received("a", "q", direct=True)
    tally.neighbor_up("a", "p")
    tally.unsynced_writes("a", 3)
    clock.now += 2
    tally.received("a", "q", direct=False)
    clock.now += 1
    report = tally.report("a")
    heard = report.heard
    assert list(heard.peer_ids) == ["p", "q"]
    assert (list(heard.heard_ages_ms), list(heard.heard_counts), list(heard.direct)) == ([3000, 1000], [1, 2], [0])
    assert [(one.peer_id, one.up_age_ms) for one in report.neighbors] == [("p", 3000)]
    assert (report.broadcast_count, report.unsynced_writes) == (1, 3)


def test_a_neighbour_is_told_once() -> None:
    tally = ReportBuilder()
    assert [tally.neighbor_up("a", "p"), tally.neighbor_up("a", "p")] == [True, False]
    assert [tally.neighbor_down("a", "p"), tally.neighbor_down("a", "p")] == [True, False]


def test_ages_never_pass_what_the_service_takes() -> None:
    clock = Clock()
    tally = ReportBuilder(clock)
    tally.received("a", "p", direct=True)
    tally.neighbor_up("a", "p")
    clock.now += 40 * 24 * 3600
    report = tally.report("a")
    assert report.heard.heard_ages_ms[0] == report.neighbors[0].up_age_ms == OLDEST_MS == 2_592_000_000


def test_who_was_heard_before_the_host_slept_was_not_just_heard(host_sleeps: Callable[[float], None]) -> None:
    tally = ReportBuilder()
    tally.received("a", "p", direct=True)
    tally.neighbor_up("a", "p")
    host_sleeps(3600)
    report = tally.report("a")
    assert report.heard.heard_ages_ms[0] >= 3_600_000
    assert report.neighbors[0].up_age_ms >= 3_600_000


def test_the_peer_longest_unheard_goes_first() -> None:
    tally = ReportBuilder()
    for number in range(PEERS):
        tally.received("a", f"p{number}", direct=True)
    tally.received("a", "p0", direct=True)
    tally.received("a", "new", direct=True)
    peers = set(tally.report("a").heard.peer_ids)
    assert len(peers) == PEERS
    assert {"p0", "new"} <= peers
    assert "p1" not in peers


TELLS: list[tuple[str, Callable[[ReportBuilder, str], object]]] = [
    ("author_id", lambda tally, value: tally.received("a", value, direct=True)),
    ("peer_id", lambda tally, value: tally.neighbor_up("a", value)),
    ("peer_id", lambda tally, value: tally.neighbor_down("a", value)),
    ("store_id", lambda tally, value: tally.received(value, "p", direct=True)),
    ("store_id", lambda tally, value: tally.neighbor_up(value, "p")),
    ("store_id", lambda tally, value: tally.neighbor_down(value, "p")),
    ("store_id", lambda tally, value: tally.sent(value)),
    ("store_id", lambda tally, value: tally.unsynced_writes(value, 1)),
]


@pytest.mark.parametrize(("name", "tell"), TELLS)
@pytest.mark.parametrize(
    "value",
    ["", "p" * (ID_BYTES + 1), "\u00e9" * ID_BYTES, "\ud800"],
    ids=["empty", "long", "of long characters", "no text"],
)
def test_what_is_no_id_is_refused_by_name_and_changes_nothing(
    name: str, tell: Callable[[ReportBuilder, str], object], value: str
) -> None:
    tally = ReportBuilder()
    before = tally.report("a")
    with pytest.raises(ValueError, match=name):
        tell(tally, value)
    assert tally.report("a") == before


@pytest.mark.parametrize("count", [-1, 1 << 64])
def test_what_is_no_count_is_refused(count: int) -> None:
    tally = ReportBuilder()
    tally.unsynced_writes("a", 3)
    with pytest.raises(ValueError, match="count must be"):
        tally.unsynced_writes("a", count)
    assert tally.report("a").unsynced_writes == 3


def test_the_longest_ids_are_taken() -> None:
    tally = ReportBuilder()
    for longest in ("p" * ID_BYTES, "\u00e9" * (ID_BYTES // 2)):
        tally.received("a", longest, direct=True)
        tally.neighbor_up("a", longest)
    assert len(tally.report("a").heard.peer_ids) == len(tally.report("a").neighbors) == 2
