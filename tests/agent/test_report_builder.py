"""What a node sends and hears, as the reports tell it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from gossipcontrol.agent.report_builder import ID_BYTES, OLDEST_MS, PEERS, ReportBuilder

from tests.agent.fake import Clock


def test_a_report_tells_ages_counts_and_paths() -> None:
    clock = Clock()
    builder = ReportBuilder(clock)
    builder.sent("a")
    builder.received("a", "p", direct=True)
    builder.received("a", "q", direct=True)
    builder.neighbor_up("a", "p")
    builder.unsynced_writes("a", 3)
    clock.now += 2
    builder.received("a", "q", direct=False)
    clock.now += 1
    report = builder.report("a")
    heard = report.heard
    assert list(heard.peer_ids) == ["p", "q"]
    assert (list(heard.heard_ages_ms), list(heard.heard_counts), list(heard.direct)) == ([3000, 1000], [1, 2], [0])
    assert [(one.peer_id, one.up_age_ms) for one in report.neighbors] == [("p", 3000)]
    assert (report.broadcast_count, report.unsynced_writes) == (1, 3)


def test_signs_of_life_that_are_not_counted_have_ages_and_no_counts() -> None:
    clock = Clock()
    builder = ReportBuilder(clock)
    assert builder.heard("a", "p", clock.now - 5, direct=False)
    assert not builder.heard("a", "p", clock.now - 6, direct=True), "an older one is no news"
    heard = builder.report("a").heard
    assert (list(heard.heard_ages_ms), list(heard.heard_counts), list(heard.direct)) == ([5000], [], [])
    assert builder.heard("a", "p", clock.now, direct=True)
    assert list(builder.report("a").heard.direct) == [0]
    builder.received("a", "q", direct=True)
    assert list(builder.report("a").heard.heard_counts) == [0, 1]


def test_writes_are_counted_until_another_node_holds_them() -> None:
    builder = ReportBuilder()
    for _ in range(3):
        builder.record_write("a")
    assert builder.report("a").unsynced_writes == 3
    builder.mark_synced("a")
    assert builder.report("a").unsynced_writes == 0
    builder.record_write("a")
    assert builder.report("a").unsynced_writes == 1


def test_a_neighbour_is_told_once() -> None:
    builder = ReportBuilder()
    assert [builder.neighbor_up("a", "p"), builder.neighbor_up("a", "p")] == [True, False]
    assert [builder.neighbor_down("a", "p"), builder.neighbor_down("a", "p")] == [True, False]


def test_ages_never_pass_what_the_service_takes() -> None:
    clock = Clock()
    builder = ReportBuilder(clock)
    builder.received("a", "p", direct=True)
    builder.neighbor_up("a", "p")
    clock.now += 40 * 24 * 3600
    report = builder.report("a")
    assert report.heard.heard_ages_ms[0] == report.neighbors[0].up_age_ms == OLDEST_MS == 2_592_000_000


def test_who_was_heard_before_the_host_slept_was_not_just_heard(host_sleeps: Callable[[float], None]) -> None:
    builder = ReportBuilder()
    builder.received("a", "p", direct=True)
    builder.neighbor_up("a", "p")
    host_sleeps(3600.5)
    report = builder.report("a")
    assert report.heard.heard_ages_ms[0] >= 3_600_000
    assert report.neighbors[0].up_age_ms >= 3_600_000


def test_the_peer_longest_unheard_goes_first() -> None:
    builder = ReportBuilder()
    for number in range(PEERS):
        builder.received("a", f"p{number}", direct=True)
    builder.received("a", "p0", direct=True)
    builder.received("a", "new", direct=True)
    peers = set(builder.report("a").heard.peer_ids)
    assert len(peers) == PEERS
    assert {"p0", "new"} <= peers
    assert "p1" not in peers


TELLS: list[tuple[str, Callable[[ReportBuilder, str], object]]] = [
    ("author_id", lambda builder, value: builder.received("a", value, direct=True)),
    ("peer_id", lambda builder, value: builder.neighbor_up("a", value)),
    ("peer_id", lambda builder, value: builder.neighbor_down("a", value)),
    ("store_id", lambda builder, value: builder.received(value, "p", direct=True)),
    ("store_id", lambda builder, value: builder.neighbor_up(value, "p")),
    ("store_id", lambda builder, value: builder.neighbor_down(value, "p")),
    ("store_id", lambda builder, value: builder.sent(value)),
    ("store_id", lambda builder, value: builder.unsynced_writes(value, 1)),
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
    builder = ReportBuilder()
    before = builder.report("a")
    with pytest.raises(ValueError, match=name):
        tell(builder, value)
    assert builder.report("a") == before


@pytest.mark.parametrize("count", [-1, 1 << 64])
def test_what_is_no_count_is_refused(count: int) -> None:
    builder = ReportBuilder()
    builder.unsynced_writes("a", 3)
    with pytest.raises(ValueError, match="count must be"):
        builder.unsynced_writes("a", count)
    assert builder.report("a").unsynced_writes == 3


def test_the_longest_ids_are_taken() -> None:
    builder = ReportBuilder()
    for longest in ("p" * ID_BYTES, "\u00e9" * (ID_BYTES // 2)):
        builder.received("a", longest, direct=True)
        builder.neighbor_up("a", longest)
    assert len(builder.report("a").heard.peer_ids) == len(builder.report("a").neighbors) == 2
