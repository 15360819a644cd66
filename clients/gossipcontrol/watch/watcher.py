"""The watcher of this host: its sources merged into one stream of changes."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, suppress
from pathlib import Path

from gossipcontrol.watch.change import Change, ChangeKind
from gossipcontrol.watch.debounce import Debounce
from gossipcontrol.watch.fingerprint import Filter, Fingerprint, take_fingerprint
from gossipcontrol.watch.generation import GenerationCounter
from gossipcontrol.watch.host import boot_id, runtime_directory
from gossipcontrol.watch.polling import PollingSource
from gossipcontrol.watch.source import NetworkSource, PowerSource, Seen

SAME_RESUME = 10.0
"""Seconds within which two sources tell of one resume."""


class Watcher:
    """Merges a network source and power sources. Sources that do not work here are left out; polling stands in."""

    def __init__(
        self,
        network: NetworkSource,
        power: Sequence[PowerSource],
        counter: GenerationCounter,
        chosen: Filter,
        *,
        quiet: float = 0.25,
        fallback: NetworkSource | None = None,
    ) -> None:
        self._network = network
        self._power = power
        self._counter = counter
        self._filter = chosen
        self._quiet = quiet
        self._fallback = fallback or PollingSource()
        self._changes: asyncio.Queue[Change] = asyncio.Queue()
        self._resumed_at = float("-inf")
        self.started = asyncio.Event()
        """Set once the first state of the network is known."""

    async def changes(self) -> AsyncIterator[Change]:
        """Each change as it is told."""
        tasks = [asyncio.create_task(self._watch_network())]
        tasks += [asyncio.create_task(self._watch_power(source)) for source in self._power]
        getting: asyncio.Task[Change] | None = None
        try:
            while True:
                getting = getting or asyncio.create_task(self._changes.get())
                done, _ = await asyncio.wait([getting, *tasks], return_when=asyncio.FIRST_COMPLETED)
                if getting in done:
                    yield getting.result()
                    getting = None
                for task in done & set(tasks):
                    task.result()
                    tasks.remove(task)
        finally:
            for task in (*tasks, *((getting,) if getting else ())):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch_network(self) -> None:
        for source in (self._network, self._fallback):
            with suppress(OSError):
                await self._follow(source)

    async def _follow(self, source: NetworkSource) -> None:
        """Debounce what a source sees; raises OSError when it does not work here."""
        async with aclosing(source.watch()) as states:  # type: ignore[type-var]
            first = take_fingerprint((await anext(states)).snapshot, self._filter)
            debounce = Debounce(first, quiet=self._quiet)
            self.started.set()
            following: asyncio.Future[Seen] = asyncio.ensure_future(anext(states))
            try:
                while True:
                    deadline = debounce.next_deadline()
                    timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
                    await asyncio.wait([following], timeout=timeout)
                    told = debounce.settle(time.monotonic())
                    if following.done():
                        told = self._observe(debounce, following.result()) or told
                        following = asyncio.ensure_future(anext(states))
                    if told is not None:
                        self._tell(ChangeKind.CHANGED, told.describe(), told)
            finally:
                following.cancel()
                with suppress(asyncio.CancelledError, StopAsyncIteration, OSError):
                    await following

    def _observe(self, debounce: Debounce, seen: Seen) -> Fingerprint | None:
        fingerprint = take_fingerprint(seen.snapshot, self._filter)
        lost = any(self._filter.counts(name) for name in seen.lost_links)
        return debounce.observe(fingerprint, time.monotonic(), lost=lost)

    async def _watch_power(self, source: PowerSource) -> None:
        async for kind in source.watch():
            if kind is ChangeKind.SLEEPING:
                self._changes.put_nowait(Change(kind, 0, "about to sleep", time.monotonic()))
            elif time.monotonic() - self._resumed_at > SAME_RESUME:
                self._resumed_at = time.monotonic()
                self._tell(kind, "woke from sleep", None)

    def _tell(self, kind: ChangeKind, detail: str, fingerprint: Fingerprint | None) -> None:
        state = repr((kind.value, fingerprint and (sorted(fingerprint.ways), sorted(fingerprint.addresses))))
        generation = self._counter.advance(hashlib.blake2b(state.encode(), digest_size=8).hexdigest())
        self._changes.put_nowait(Change(kind, generation, detail[:250], time.monotonic()))


def make_watcher(chosen: Filter, *, quiet: float = 0.25, state: Path | None = None) -> Watcher:
    """The watcher for this operating system."""
    network: NetworkSource = PollingSource()
    power: list[PowerSource] = []
    if sys.platform == "linux":
        # Imported here: pyroute2 takes 175 ms and 14 MB, which other systems need not pay.
        from gossipcontrol.watch.linux import RtnetlinkSource
        from gossipcontrol.watch.logind import LogindSource
        from gossipcontrol.watch.suspend import ClockSource

        network, power = RtnetlinkSource(), [LogindSource(), ClockSource()]
    counter = GenerationCounter(state or runtime_directory() / "generation.json", boot_id())
    return Watcher(network, power, counter, chosen, quiet=quiet)


def watch_host(chosen: Filter) -> AsyncIterator[Change]:
    """The changes of this host."""
    return make_watcher(chosen).changes()
