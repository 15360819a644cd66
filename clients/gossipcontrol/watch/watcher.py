"""The watcher of this host: its sources merged into one stream of changes."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeAlias

from gossipcontrol.client.clock import boottime, time_asleep
from gossipcontrol.watch.change import Change, ChangeKind, Snapshot
from gossipcontrol.watch.debounce import Debounce, Report
from gossipcontrol.watch.fingerprint import Fingerprint, take_fingerprint
from gossipcontrol.watch.generation import GenerationCounter
from gossipcontrol.watch.host import boot_id, runtime_directory
from gossipcontrol.watch.polling import PollingSource
from gossipcontrol.watch.recording import RecordedLists, RecordedNetwork, RecordedPower, Recorder
from gossipcontrol.watch.route_layout import layout_of
from gossipcontrol.watch.scope import Filter
from gossipcontrol.watch.source import NetworkSource, Peers, PowerSource, no_peers

Changes: TypeAlias = AsyncGenerator[Change, None]
OnStart: TypeAlias = Callable[[str, Fingerprint], None]
"""Called with the name of the source that is used, and the first state of the network."""
OnEvent: TypeAlias = Callable[[], None]

SAME_RESUME = 10.0
"""Seconds within which two sources report one resume, on a clock that goes on during sleep."""


class _Listener(NamedTuple):
    """What is called with what a watcher sees."""

    on_change: Callable[[Change], None]
    on_start: OnStart
    on_lost: OnEvent
    on_back: OnEvent


class Watcher:
    """Merges a network source and power sources. A source that does not work here is left out; polling replaces it."""

    def __init__(
        self,
        network: NetworkSource,
        power: Sequence[PowerSource],
        counter: GenerationCounter,
        chosen: Filter,
        *,
        quiet: float = 0.25,
        fallback: NetworkSource | None = None,
        peers: Peers = no_peers,
        clock: Callable[[], float] = boottime,
        asleep: Callable[[], float] = time_asleep,
    ) -> None:
        self._network = network
        self._power = power
        self._counter = counter
        self._filter = chosen
        self._quiet = quiet
        self._fallback = fallback or PollingSource(peers=peers)
        self._clock = clock
        self._pending = False
        self._reachable = True
        self._resumed_at = float("-inf")
        self._asleep = asleep
        self._slept = asleep()

    async def changes(
        self,
        *,
        on_start: OnStart = lambda source, first: None,
        on_lost: OnEvent = lambda: None,
        on_back: OnEvent = lambda: None,
    ) -> Changes:
        """Each change as it happens.

        ``on_lost``: no peer can be reached any more, for no interface that counts has a carrier and an address; also
        at the start. ``on_back``: one has them again, which is seen before it is a change.
        """
        queue: asyncio.Queue[Change | None] = asyncio.Queue()
        task = asyncio.create_task(self._run(_Listener(queue.put_nowait, on_start, on_lost, on_back)))
        task.add_done_callback(lambda _: queue.put_nowait(None))
        try:
            while (change := await queue.get()) is not None:
                yield change
            await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self, listener: _Listener) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_network(listener))
            for source in self._power:
                group.create_task(self._watch_power(source, listener))

    async def _watch_network(self, listener: _Listener) -> None:
        for source in (self._network, self._fallback):
            # The next one is the fallback, which never fails.
            with suppress(OSError):
                await self._follow(source, listener)

    async def _follow(self, source: NetworkSource, listener: _Listener) -> None:
        """Debounce what a source sees; raises OSError when it does not work here."""
        async with aclosing(source.watch()) as states:
            current = take_fingerprint(await anext(states), self._filter)
            listener.on_start(source.name, current)
            self._tell_reachable(current, listener)
            # What the previous source saw and did not report is reported by this one.
            debounce = Debounce(Fingerprint() if self._pending else current, quiet=self._quiet)
            self._report_network(debounce.observe(current, time.monotonic()), listener)
            following: asyncio.Future[Snapshot] = asyncio.ensure_future(anext(states))
            try:
                while True:
                    deadline = debounce.next_deadline()
                    timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
                    await asyncio.wait([following], timeout=timeout)
                    at_once = None
                    if following.done():
                        # Before the deadline is handled: a state that has just changed again must not be reported.
                        current = take_fingerprint(following.result(), self._filter)
                        following = asyncio.ensure_future(anext(states))
                        at_once = debounce.observe(current, time.monotonic())
                        self._tell_reachable(current, listener)
                    self._report_network(at_once or debounce.expire(time.monotonic()), listener)
            finally:
                self._pending = debounce.pending
                following.cancel()
                with suppress(asyncio.CancelledError, StopAsyncIteration, OSError):
                    await following

    def _tell_reachable(self, current: Fingerprint, listener: _Listener) -> None:
        if current.reachable != self._reachable:
            self._reachable = current.reachable
            (listener.on_back if current.reachable else listener.on_lost)()

    def _report_network(self, report: Report | None, listener: _Listener) -> None:
        if report is not None:
            change = self._change(ChangeKind.CHANGED, report.describe(), report.network, self._clock())
            listener.on_change(change)

    async def _watch_power(self, source: PowerSource, listener: _Listener) -> None:
        # A source that does not work here is left out.
        with suppress(OSError):
            async for kind in source.watch():
                now = self._clock()
                if kind is ChangeKind.RESUMED:
                    self._network.wake()
                    self._fallback.wake()
                if kind is ChangeKind.SLEEPING:
                    self._resumed_at = float("-inf")
                    listener.on_change(Change(kind, 0, "about to sleep", now))
                elif now - self._resumed_at > SAME_RESUME:
                    self._resumed_at = now
                    listener.on_change(self._resume(now))

    def _resume(self, now: float) -> Change:
        before, self._slept = self._slept, self._asleep()
        slept = max(0.0, self._slept - before)
        detail = f"woke after {slept:.0f} s of sleep" if slept >= 1 else "woke from sleep"
        return replace(self._change(ChangeKind.RESUMED, detail, None, now), slept=slept)

    def _change(self, kind: ChangeKind, detail: str, fingerprint: Fingerprint | None, now: float) -> Change:
        state = repr((kind.label, fingerprint and fingerprint.identity))
        generation = self._counter.advance(hashlib.blake2b(state.encode(), digest_size=8).hexdigest())
        return Change(kind, generation, detail, now)


def make_watcher(
    chosen: Filter | None = None,
    *,
    quiet: float = 0.25,
    state: Path | None = None,
    peers: Peers = no_peers,
    recorder: Recorder | None = None,
) -> Watcher:
    """The watcher for this operating system, of the interfaces that a filter chooses.

    ``peers`` gives addresses of peers, the most important first: a change of the way to one of the first 8 is reported
    too. It is called for every look at the network. ``recorder`` writes down all that the sources see.
    """
    chosen = chosen or Filter.default()
    network, power = system_sources(chosen, peers, recorder)
    fallback: NetworkSource = PollingSource(peers=peers)
    if recorder is not None:
        network, fallback = RecordedNetwork(network, recorder), RecordedNetwork(fallback, recorder)
        power = [RecordedPower(one, recorder) for one in power]
    counter = GenerationCounter(state or runtime_directory() / "generation.json", boot_id())
    return Watcher(network, power, counter, chosen, quiet=quiet, fallback=fallback)


def system_sources(
    chosen: Filter, peers: Peers = no_peers, recorder: Recorder | None = None
) -> tuple[NetworkSource, list[PowerSource]]:
    """The sources for this operating system. Imported here: no other system has theirs."""
    power: list[PowerSource] = []
    network: NetworkSource = PollingSource(peers=peers)
    if sys.platform == "linux":
        from gossipcontrol.watch.linux import RtnetlinkSource
        from gossipcontrol.watch.logind import LogindSource
        from gossipcontrol.watch.suspend import ClockSource

        network, power = RtnetlinkSource(chosen, peers), [LogindSource(), ClockSource()]
    elif sys.platform == "win32":
        from gossipcontrol.watch.suspend import ClockSource
        from gossipcontrol.watch.windows import IpHelperSource
        from gossipcontrol.watch.windows_power import SuspendSource

        network, power = IpHelperSource(chosen, peers), [SuspendSource(), ClockSource()]
    elif layout_of(sys.platform) is not None:
        network, power = _bsd_network(chosen, peers, recorder), [_bsd_power()]
    return network, power


def _bsd_network(chosen: Filter, peers: Peers, recorder: Recorder | None) -> NetworkSource:
    from gossipcontrol.watch.route_socket import RouteSocketSource
    from gossipcontrol.watch.sysctl import Sysctl

    layout = layout_of(sys.platform)
    if recorder is None or layout is None:
        return RouteSocketSource(chosen, peers)
    return RouteSocketSource(
        chosen,
        peers,
        lists=RecordedLists(Sysctl(layout), recorder),
        on_message=lambda message: recorder.add_raw("message", message),
    )


def _bsd_power() -> PowerSource:
    from gossipcontrol.watch.iokit import MacPowerSource
    from gossipcontrol.watch.suspend import ClockSource

    return MacPowerSource() if sys.platform == "darwin" else ClockSource()
