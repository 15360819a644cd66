"""The watcher of this host: its sources merged into one stream of changes."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import TypeAlias

from gossipcontrol.watch.change import Change, ChangeKind
from gossipcontrol.watch.debounce import Debounce
from gossipcontrol.watch.fingerprint import Filter, Fingerprint, take_fingerprint
from gossipcontrol.watch.generation import GenerationCounter
from gossipcontrol.watch.host import boot_id, runtime_directory
from gossipcontrol.watch.polling import PollingSource
from gossipcontrol.watch.source import NetworkSource, PowerSource, Seen

Changes: TypeAlias = AsyncGenerator[Change, None]

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
        self._resumed_at = float("-inf")

    async def changes(self, on_start: Callable[[str, Fingerprint], None] = lambda _name, _first: None) -> Changes:
        """Each change as it is told; ``on_start`` learns which source is used, and the first state of the network."""
        told: asyncio.Queue[Change | None] = asyncio.Queue()
        task = asyncio.create_task(self._run(told.put_nowait, on_start))
        task.add_done_callback(lambda _: told.put_nowait(None))
        try:
            while (change := await told.get()) is not None:
                yield change
            await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self, tell: Callable[[Change], None], on_start: Callable[[str, Fingerprint], None]) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_network(tell, on_start))
            for source in self._power:
                group.create_task(self._watch_power(source, tell))

    async def _watch_network(
        self, tell: Callable[[Change], None], on_start: Callable[[str, Fingerprint], None]
    ) -> None:
        for source in (self._network, self._fallback):
            # What follows is the fallback, which never fails.
            with suppress(OSError):
                await self._follow(source, tell, on_start)

    async def _follow(
        self,
        source: NetworkSource,
        tell: Callable[[Change], None],
        on_start: Callable[[str, Fingerprint], None],
    ) -> None:
        """Debounce what a source sees; raises OSError when it does not work here."""
        async with aclosing(source.watch()) as states:
            first = take_fingerprint((await anext(states)).snapshot, self._filter)
            on_start(source.name, first)
            debounce = Debounce(first, quiet=self._quiet)
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
                        tell(self._network_change(told))
            finally:
                following.cancel()
                with suppress(asyncio.CancelledError, StopAsyncIteration, OSError):
                    await following

    def _observe(self, debounce: Debounce, seen: Seen) -> Fingerprint | None:
        fingerprint = take_fingerprint(seen.snapshot, self._filter)
        lost = any(self._filter.counts(name) for name in seen.lost_links)
        return debounce.observe(fingerprint, time.monotonic(), lost=lost)

    async def _watch_power(self, source: PowerSource, tell: Callable[[Change], None]) -> None:
        async for kind in source.watch():
            now = time.monotonic()
            if kind is ChangeKind.SLEEPING:
                tell(Change(kind, 0, "about to sleep", now))
            elif now - self._resumed_at > SAME_RESUME:
                self._resumed_at = now
                tell(self._change(kind, "woke from sleep", None))

    def _network_change(self, told: Fingerprint) -> Change:
        if told.way_out:
            return self._change(ChangeKind.CHANGED, told.describe(), told)
        return Change(ChangeKind.LOST, 0, told.describe(), time.monotonic())

    def _change(self, kind: ChangeKind, detail: str, fingerprint: Fingerprint | None) -> Change:
        state = repr((kind.value, fingerprint and (sorted(fingerprint.ways), sorted(fingerprint.addresses))))
        generation = self._counter.advance(hashlib.blake2b(state.encode(), digest_size=8).hexdigest())
        return Change(kind, generation, detail[:250], time.monotonic())


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
