"""Recordings: what a watcher saw, written, read again, and reported again by the same rules."""

from __future__ import annotations

import base64
import json
import stat
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest
from gossipcontrol.watch import recording
from gossipcontrol.watch.change import Address, ChangeKind, Link, Neighbor, Route, Snapshot
from gossipcontrol.watch.recording import (
    RecordedLists,
    RecordedNetwork,
    RecordedPower,
    Recorder,
    RecordingError,
    read_recording,
)
from gossipcontrol.watch.replay import Replayed, replay, snapshots
from gossipcontrol.watch.route_layout import LAYOUTS, RTM_ADD, RTM_DELETE, Layout
from gossipcontrol.watch.route_table import take_snapshot
from gossipcontrol.watch.scope import Filter
from hypothesis import given
from hypothesis import strategies as st

from tests.watch.route_builder import laptop, route_message

FILTER = Filter.default()
WORDS = st.text(max_size=12)
NUMBERS = st.integers(0, 1 << 31)
SNAPSHOTS = st.builds(
    Snapshot,
    st.lists(st.builds(Link), max_size=3).map(tuple),
    st.lists(st.builds(Address), max_size=3).map(tuple),
    st.lists(st.builds(Route), max_size=3).map(tuple),
    st.lists(WORDS, max_size=3).map(tuple),
    st.lists(st.builds(Neighbor), max_size=3).map(tuple),
)
HOME = Snapshot(
    (Link(2, "eth0", True),),
    (Address(2, "10.0.0.2", 24, True),),
    (Route("default v4", 2, "10.0.0.1", "10.0.0.2"),),
)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Source:
    """Sees two states."""

    name = "test"

    def wake(self) -> None:
        raise AssertionError("nobody woke it")

    async def watch(self) -> AsyncGenerator[Snapshot, None]:
        yield HOME
        yield Snapshot()


class Power:
    name = "test"

    async def watch(self) -> AsyncGenerator[ChangeKind, None]:
        yield ChangeKind.SLEEPING
        yield ChangeKind.RESUMED


async def test_what_sources_see_is_read_again(tmp_path: Path) -> None:
    path, clock = tmp_path / "seen", Clock()
    recorder = Recorder(path, clock)
    async with aclosing(RecordedNetwork(Source(), recorder).watch()) as states:
        assert [state async for state in states] == [HOME, Snapshot()]
    clock.now += 2.5
    assert [kind async for kind in RecordedPower(Power(), recorder).watch()] == [
        ChangeKind.SLEEPING,
        ChangeKind.RESUMED,
    ]
    recorder.close()
    found = read_recording(path)
    assert [(one.at, one.snapshot or one.power) for one in found.entries] == [
        (0, HOME),
        (0, Snapshot()),
        (2.5, ChangeKind.SLEEPING),
        (2.5, ChangeKind.RESUMED),
    ]
    if sys.platform != "win32":  # where who may read it is in a list, see tests/system/test_file.py
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@given(snapshot=SNAPSHOTS)
def test_every_snapshot_is_read_as_it_was(snapshot: Snapshot, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("recording") / "seen"
    recorder = Recorder(path)
    recorder.add_snapshot("test", snapshot)
    recorder.close()
    assert read_recording(path).entries[0].snapshot == snapshot


def record(path: Path, *seen: tuple[float, Snapshot | ChangeKind]) -> None:
    clock = Clock()
    recorder = Recorder(path, clock)
    for at, what in seen:
        clock.now = 100.0 + at
        if isinstance(what, Snapshot):
            recorder.add_snapshot("test", what)
        else:
            recorder.add_power(what)
    recorder.close()


def test_a_replay_reports_at_the_recorded_times(tmp_path: Path) -> None:
    away = Snapshot(HOME.links, (Address(2, "10.0.0.9", 24, True),), HOME.routes)
    path = tmp_path / "seen"
    record(path, (0.0, HOME), (5.0, Snapshot()), (5.1, HOME), (9.0, away), (20.0, ChangeKind.SLEEPING))
    reports = list(replay(read_recording(path), FILTER))
    assert [(round(one.at, 2), one.kind, one.detail) for one in reports] == [
        (5.1, ChangeKind.CHANGED, "eth0 via 10.0.0.1; 10.0.0.2"),
        (9.25, ChangeKind.CHANGED, "eth0 via 10.0.0.1; 10.0.0.9 (addresses changed)"),
        (20.0, ChangeKind.SLEEPING, "about to sleep"),
    ]


@pytest.mark.not_on_windows("routing sockets belong to macOS and the BSDs")
@pytest.mark.parametrize("layout", LAYOUTS, ids=[one.system for one in LAYOUTS])
def test_a_recording_of_a_routing_socket_is_parsed_again(layout: Layout, tmp_path: Path) -> None:
    """So that a dump that a user sends tests the parsers of every later release."""
    path = tmp_path / "seen"
    recorder, kernel = Recorder(path), laptop(layout)
    lists = RecordedLists(kernel, recorder)
    first = take_snapshot(lists, layout, {}, ())
    recorder.add_snapshot("route socket", Snapshot())  # what an older parser made of it
    recorder.add_raw("message", route_message(layout, RTM_DELETE, 4, "0.0.0.0/0", "192.168.1.1"))
    recorder.add_raw("message", route_message(layout, RTM_ADD, 4, "0.0.0.0/0", "192.168.1.1"))
    recorder.add_raw("message", b"\x01")
    take_snapshot(lists, layout, {}, ())
    recorder.add_snapshot("route socket", Snapshot())
    recorder.close()
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0].replace("linux", layout.system + "14"), *lines[1:]]))
    found = read_recording(path)
    states = [state for _, state in snapshots(found)]
    assert states[0] == first
    assert isinstance(states[1], Snapshot)
    assert [link.losses for link in states[1].links] == [0, 1, 0]
    assert [one.detail for one in replay(found, FILTER)] == [
        "en0 via 192.168.1.1, en0 via fe80::1; 192.168.1.20, 2001:db8:1::/64"
    ]


def test_a_recording_ends_at_its_bound_and_is_read_nevertheless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "MOST_BYTES", 2000)
    record(tmp_path / "seen", *((float(number), HOME) for number in range(100)))
    assert (tmp_path / "seen").stat().st_size <= 2000
    assert 2 <= len(read_recording(tmp_path / "seen").entries) < 100


HEAD = '{"format":"gossipcontrol watch","version":1,"platform":"linux"}'
SEEN = '{"at":1.0,"source":"test","snapshot":{"links":[],"addresses":[],"routes":[],"peers":[]}}'

WRONG_TYPE = SEEN.replace("[]", '[{"index":"2","name":"x","carrier":true}]', 1)


def test_the_last_line_may_be_torn(tmp_path: Path) -> None:
    path = tmp_path / "seen"
    path.write_text(f"{HEAD}\n{SEEN}\n{SEEN[:30]}")
    assert len(read_recording(path).entries) == 1


def test_fields_of_a_newer_release_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "seen"
    link = {"index": 2, "name": "eth0", "carrier": True, "speed": 1000}
    value = {"at": 1, "snapshot": {"links": [link], "addresses": [], "routes": [], "peers": [], "rules": []}}
    path.write_text(f"{HEAD}\n{json.dumps(value)}\n{SEEN}\n")
    found = read_recording(path).entries[0].snapshot
    assert found is not None
    assert found.links == (Link(2, "eth0", True),)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no recording"),
        ("[]", "no recording"),
        ("{}", "no recording"),
        (HEAD.replace('"version":1', '"version":2'), "is of version 2"),
        (f"{HEAD}\nnonsense\n{SEEN}", "line 2"),
        (f"{HEAD}\n{{}}\n{SEEN}", "line 2"),
        (f'{HEAD}\n{{"at":1,"power":"DANCING"}}\n{SEEN}', "line 2"),
        (f'{HEAD}\n{{"at":1,"raw":"links","bytes":"%"}}\n{SEEN}', "line 2"),
        (f"{HEAD}\n{SEEN.replace('[]', '[{}]', 1)}\n{SEEN}", "line 2"),
        (f"{HEAD}\n{WRONG_TYPE}\n{SEEN}", "another type"),
    ],
)
def test_what_is_no_recording_is_refused(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "seen").write_text(text)
    with pytest.raises(RecordingError, match=says):
        read_recording(tmp_path / "seen")


@given(data=st.binary(max_size=300))
def test_any_file_is_read_or_refused(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("recording") / "seen"
    path.write_bytes(HEAD.encode() + b"\n" + data)
    try:
        found: list[Replayed] = list(replay(read_recording(path), FILTER))
    except RecordingError:
        return
    assert found == []


def test_bytes_are_kept_as_they_are(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "seen")
    recorder.add_raw("routes", bytes(range(256)))
    recorder.close()
    assert read_recording(tmp_path / "seen").entries[0].raw == ("routes", bytes(range(256)))
    assert base64.b64encode(bytes(range(256))).decode() in (tmp_path / "seen").read_text()


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "seen").write_text("mine")
    with pytest.raises(FileExistsError):
        Recorder(tmp_path / "seen")
