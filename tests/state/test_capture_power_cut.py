"""A power cut around a snapshot that is captured in slices: the next start has the state of the last acknowledgement.

The real core decides while the snapshot is captured, as in the service; a program that does so runs under strace, and
SQLite starts again on what hundreds of power cuts may have left. ``GOSSIPCONTROL_CUTS=2000`` runs the long form.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from gossipcontrol.server.core.codec import Plain
from gossipcontrol.server.core.core import Core, CoreParameters
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.core.event import Event, NetworkChanged, NodeAttached, RejoinRequested, TimePassed
from gossipcontrol.server.core.slices import Slices
from gossipcontrol.server.core.turn import Fact
from gossipcontrol.server.state.journal import JournalListener
from gossipcontrol.server.state.recovery import recover, take_snapshot, take_snapshot_slices
from gossipcontrol.server.state.sqlite import SqliteJournal

from tests.kit.until import until
from tests.state.crash_images import acknowledge, power_cuts, record

CUTS = int(os.environ.get("GOSSIPCONTROL_CUTS", "60"))
EVENTS = 60
CAPTURES = (10, 35)
"""Events before which a capture begins; one slice of it follows each event."""
PARAMETERS = CoreParameters(deciding=Parameters(rate=5.0, burst=5))


def event(number: int) -> Event:
    """An event that changes the state: nodes come, their host moves, people ask, time passes."""
    if number < 8:
        return NodeAttached(f"n{number}", "s", tuple(f"s{store}" for store in range(8)), host_id="h")
    if number % 5 == 0:
        return NetworkChanged("h", boot_id="b", generation=number)
    if number % 5 == 1:
        return TimePassed()
    return RejoinRequested(f"n{number % 8}", ("s1", "s2"), request_id=f"q{number}")


def run() -> Iterator[tuple[Core, list[Fact]]]:
    """The core after each event, and the facts of that."""
    core = Core(PARAMETERS, id_prefix="t")
    yield core, []
    for number in range(EVENTS):
        turn = core.handle(event(number), 1000.0 + number)
        yield core, [one for one in turn.facts if isinstance(one, Fact)]


class Capturing:
    """A snapshot under way."""

    def __init__(self, core: Core, journal: SqliteJournal) -> None:
        self._work: Slices[Plain] = take_snapshot_slices(core)
        next(self._work)
        self._journal, self._mark = journal, journal.mark()

    def go_on(self, at: float) -> int:
        """One slice; the number of the snapshot once it is queued, 0 before."""
        try:
            next(self._work)
        except StopIteration as end:
            return self._journal.compact(end.value, at, self._mark)
        return 0


async def write(path: Path) -> None:
    """Commit event after event, and say so on the standard output: that is the acknowledgement."""
    journal, committed, capturing = SqliteJournal(path, full=True), list[int](), None
    journal.load()
    journal.start(JournalListener(committed.append, lambda why: None, lambda seconds: None))
    number = 0
    for count, (core, facts) in enumerate(run()):
        if count == 0:
            number = journal.snapshot(take_snapshot(core), 1000.0)
        elif facts:
            number = journal.append(facts)
        if capturing is not None and (snapshot := capturing.go_on(1000.0 + count)):
            number, capturing = snapshot, None
        if count in CAPTURES:
            capturing = Capturing(core, journal)
        await until(lambda number=number: max(committed, default=0) >= number, "the journal commits", 20)
        acknowledge(count)
    await asyncio.to_thread(journal.close)


def test_a_snapshot_that_is_captured_in_slices_outlasts_a_power_cut(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    directory, calls = record(__name__, tmp_path_factory.mktemp("recorded"))
    states = [core.save() for core, _ in run()]
    seen = set[bool]()
    for image, told, where in power_cuts(directory, calls, tmp_path, CUTS):
        journal = SqliteJournal(image / "state.db", full=True)
        try:
            loaded = journal.load()
        finally:
            journal.close()
        found = recover(loaded, PARAMETERS).save() if loaded.snapshot else None
        later = [states[told], *states[told + 1 : told + 2], *([None] if told == 0 else [])]
        assert found in later, f"{where}: the state of the last acknowledgement, or of the event after it"
        if loaded.snapshot:
            seen.add(bool(loaded.snapshot["core"]["history"]["rejoins"]))
    assert seen == {False, True}, "cuts fall before the first capture was stored, and after"


def test_events_come_while_it_is_captured() -> None:
    """Else the test above would say nothing."""
    for count, (core, _) in enumerate(run()):
        if count == CAPTURES[0]:
            capture = take_snapshot_slices(core)
            assert sum(1 for _ in zip(capture, range(5), strict=False)) == 5
            capture.close()


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1])))
