"""The journal over a ledger: one append at a time takes all that waits, and nothing leaves once a newer owner has."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from gossipcontrol.server.core.codec import Plain
from gossipcontrol.server.core.effect import Effect
from gossipcontrol.server.core.turn import Fact
from gossipcontrol.server.state.clock_table import differs
from gossipcontrol.server.state.effects_checksum import checksum
from gossipcontrol.server.state.entry import KnowledgeEntry
from gossipcontrol.server.state.fence import Fence
from gossipcontrol.server.state.journal import (
    ClockReading,
    JournalListener,
    JournalStats,
    KnowledgeSnapshot,
    Loaded,
    StateError,
)
from gossipcontrol.server.state.ledger import Fenced, Late, Ledger
from gossipcontrol.server.state.ledger_entry import Batch, pack_batch, read_epoch, write_entries
from gossipcontrol.server.state.ledger_reading import Found, read_ledger
from gossipcontrol.server.state.ledger_snapshot import SnapshotJob, Snapshots
from gossipcontrol.server.state.log_table import ENTRY_BYTES
from gossipcontrol.server.state.snapshot_policy import MIN_LOG_BYTES, SnapshotPolicy

RETRY = 0.5
"""Seconds between two tries to append what could not be appended."""
STORE_SNAPSHOT_RETRY = 30.0
"""Seconds until the next snapshot after one that failed."""
CUT_INTERVAL = 60.0
"""Seconds after which the ledger forgets what is not needed, also without a new snapshot."""
CLOSE_TIME = 5.0
"""Seconds for which a stop waits for a ledger that does not answer."""
MOST_FACTS = 500
"""In one batch; more would hold up the event loop for longer than a few milliseconds."""
MOST_BYTES = 1 << 20
"""Of knowledge in one batch, unless a single fact is larger."""
FACTS_TO_SNAPSHOT = 20_000
"""Replaying so many takes about a second."""

Item = Fact | KnowledgeEntry | SnapshotJob


class LedgerJournal:
    """Belongs to one event loop. ``claim`` comes first, then ``load`` and ``start``."""

    durable = True
    shared = True

    def __init__(self, ledger: Ledger, fence: Fence, *, max_bytes: int = 1 << 30) -> None:
        self._ledger = ledger
        self._fence = fence
        self._max_bytes = max_bytes
        self._snapshots = Snapshots(ledger, fence.epoch)
        self._policy = SnapshotPolicy(max_bytes)
        self._loaded = Loaded()
        self._last = 0
        """Last entry of the log."""
        self._number = 0
        self._queue: deque[tuple[int, Item]] = deque()
        self._checksums: dict[int, int] = {}
        """Of the effects of turns that are queued, by the number of the last fact."""
        self._news = asyncio.Event()
        self._jobs: asyncio.Queue[SnapshotJob] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listener: JournalListener | None = None
        self._reading: ClockReading | None = None
        """As last written."""
        self._log_bytes = self._facts = 0
        """Since the last snapshot of deciding."""
        self._snapshot_queued = self._closing = False
        self._snapshot_from = 0.0
        """Monotonic instant from which on snapshots may be tried again."""

    async def claim(self, read: Callable[[Ledger, int], Awaitable[Found]] = read_ledger) -> None:
        """Append the first entry of this owner, and ``read`` all before it; raises Fenced, Late, StateError."""
        [claim] = write_entries(self._fence.epoch, b"")
        while True:
            self._last = await self._ledger.last() + 1
            async for _, entry in self._ledger.read(self._last - 1):
                if read_epoch(entry) > self._fence.epoch:
                    raise Fenced("another replica has taken over")
            with contextlib.suppress(Fenced):  # an older owner was faster: read on
                await self._ledger.append(self._last, claim)
                break
        await self._snapshots.claim()
        try:
            found = await read(self._ledger, self._last)
        except StateError:
            await self._snapshots.check_owner()  # a newer one may have cut what this one was to read
            raise
        self._loaded, self._number, self._reading = found.loaded, found.number, found.loaded.clock
        self._snapshots.begin(found.manifest, found.revision, found.loaded.knowledge.entries)
        self._log_bytes, self._facts = found.log_bytes, found.entries
        self._policy.resize({store_id: one.size for store_id, one in found.manifest.stores.items()})
        for _, one in found.loaded.knowledge.entries:
            self._policy.add(one.store_id, len(one.body) + ENTRY_BYTES)

    @property
    def last(self) -> int:
        """The last entry of the log."""
        return self._last

    def load(self) -> Loaded:
        """What was read when it was claimed."""
        loaded, self._loaded = self._loaded, Loaded()
        return loaded

    def start(self, listener: JournalListener) -> None:
        """Begin to write."""
        self._listener, self._loop = listener, asyncio.get_running_loop()
        self._tasks = [self._loop.create_task(one) for one in (self._write(), self._work())]

    def append(self, entries: Sequence[Fact | KnowledgeEntry], effects: Sequence[Effect] = ()) -> int:
        """Queue entries for the next append."""
        for one in entries:
            if type(one) is KnowledgeEntry:
                self._policy.add(one.store_id, len(one.body) + ENTRY_BYTES)
        self._queue.extend(enumerate(entries, self._number + 1))
        self._number += len(entries)
        if effects and (found := checksum(effects)):
            self._checksums[self._number] = found
        self._news.set()
        return self._number

    def snapshot(self, plain: Plain, at: float, knowledge: KnowledgeSnapshot | None = None) -> int:
        """Queue a snapshot before which nothing later is kept: it may hold other parameters."""
        self._snapshot_queued = True
        is_whole = knowledge is not None
        if is_whole:
            self._policy.clear()
        number = self.mark()
        return self._put(
            SnapshotJob(number=number, at=at, plain=plain, knowledge=knowledge, is_whole=is_whole, is_barrier=True)
        )

    def mark(self) -> int:
        """A number between what was appended and what will be."""
        self._snapshot_queued = True
        self._number += 1
        return self._number

    def give_up(self) -> None:
        """No snapshot is under way."""
        self._snapshot_queued = False

    def compact(self, plain: Plain, at: float, mark: int = 0) -> int:
        """Queue a snapshot that is written beside the log."""
        return self._put(SnapshotJob(number=mark or self.mark(), at=at, plain=plain))

    def snapshot_store(self, knowledge: KnowledgeSnapshot) -> int:
        """Queue the snapshot of a store."""
        self._number += 1
        (store_id,) = knowledge.stores
        self._policy.begin(store_id, self._number)
        return self._put(SnapshotJob(number=self._number, at=knowledge.at, knowledge=knowledge))

    def _put(self, job: SnapshotJob) -> int:
        self._number += 1
        self._queue.append((self._number, job))
        self._news.set()
        return self._number

    def wants_snapshot(self) -> bool:
        """Whether a new owner would have long to read."""
        if self._snapshot_queued or time.monotonic() < self._snapshot_from:
            return False
        size = self._snapshots.manifest.deciding.size
        is_long = self._facts > FACTS_TO_SNAPSHOT and 2 * self._log_bytes > size
        return is_long or self._log_bytes > min(max(MIN_LOG_BYTES, 2 * size), self._max_bytes // 4)

    def wants_all(self) -> bool:
        """Never: no replica can lose the ledger."""
        return False

    def due_store(self) -> str | None:
        """The store whose log outweighs its snapshot; None for a while after a failure."""
        return None if time.monotonic() < self._snapshot_from else self._policy.due()

    def has_room(self) -> bool:
        """Whether the logs and snapshots of stores take less than half of what is allowed."""
        return not self._policy.is_full()

    def stats(self) -> JournalStats:
        """Sizes now."""
        return JournalStats(self._log_bytes, self._facts)

    def close(self) -> None:
        """Append what waits, if possible, and end; called in another thread than the loop's."""
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()

    async def _close(self) -> None:
        self._closing = True
        self._news.set()
        await asyncio.wait(self._tasks[:1], timeout=CLOSE_TIME)
        await self.abandon()

    async def abandon(self) -> None:
        """End at once; what waits is not appended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # The tasks.

    async def _write(self) -> None:
        """Append what waits, batch after batch."""
        assert self._listener is not None
        try:
            while await self._has_work():
                if isinstance(job := self._queue[0][1], SnapshotJob):
                    await self._pass_on(job)
                    self._queue.popleft()
                else:
                    await self._append(self._next_batch())
                await self._fence.sure()
                # From here on nothing waits: what was kept leaves before anybody else can own the ledger.
                self._listener.committed(self._queue[0][0] - 1 if self._queue else self._number)
        except Fenced as error:
            self._listener.fenced(str(error))
        except Exception as error:  # noqa: BLE001 - else every call would wait for ever; another replica can go on
            self._listener.fenced(f"the log cannot be written: {error!r}")

    async def _has_work(self) -> bool:
        """Wait for something to write; False once there is nothing and the journal closes."""
        while not self._queue and not self._closing:
            self._news.clear()
            await self._news.wait()
        return bool(self._queue)

    def _next_batch(self) -> Batch:
        entries: list[tuple[int, Fact | KnowledgeEntry]] = []
        size = 0
        while self._queue and len(entries) < MOST_FACTS and size < MOST_BYTES:
            number, one = self._queue[0]
            if isinstance(one, SnapshotJob):
                break
            entries.append((number, one))
            size += len(one.body) if isinstance(one, KnowledgeEntry) else 0
            self._queue.popleft()
        checksums = {number: self._checksums.pop(number) for number, _ in entries if number in self._checksums}
        return Batch(self._new_reading(), entries, checksums)

    def _new_reading(self) -> ClockReading | None:
        """How the clocks stand, when that is new."""
        clock = self._listener.clock if self._listener else None
        if clock is None or not differs(self._reading, reading := clock()):
            return None
        self._reading = reading
        return reading

    async def _append(self, batch: Batch) -> None:
        assert self._listener is not None
        started_at = time.perf_counter()
        for entry in write_entries(self._fence.epoch, pack_batch(batch)):
            while True:
                try:
                    await self._ledger.append(self._last + 1, entry)
                    break
                except Late as error:
                    self._listener.failed(str(error))
                    await asyncio.sleep(RETRY)
            self._last += 1
            self._log_bytes += len(entry)
        self._facts += len(batch.entries)
        self._snapshots.add(self._last, batch)
        self._listener.observed(time.perf_counter() - started_at)

    async def _pass_on(self, job: SnapshotJob) -> None:
        """Everything that a snapshot covers is appended: it can be written."""
        assert self._listener is not None
        if not job.is_barrier:
            self._jobs.put_nowait(job)
            return
        while True:
            try:
                await self._write_snapshot(job)
            except Late as error:
                self._listener.failed(str(error))
                await asyncio.sleep(RETRY)
            else:
                return

    async def _work(self) -> None:
        """Write snapshots, and have the ledger forget what is not needed."""
        assert self._listener is not None
        try:
            with contextlib.suppress(Late):
                await self._snapshots.clean()
            while True:
                try:
                    async with asyncio.timeout(CUT_INTERVAL):
                        job = await self._jobs.get()
                except TimeoutError:
                    with contextlib.suppress(Late):
                        await self._snapshots.cut()
                    continue
                try:
                    await self._write_snapshot(job)
                except Late:
                    self._give_up(job)
        except Fenced as error:
            self._listener.fenced(str(error))
        except Exception as error:  # noqa: BLE001 - else the log would grow for ever
            self._listener.fenced(f"no snapshot can be written: {error!r}")

    async def _write_snapshot(self, job: SnapshotJob) -> None:
        log_bytes, facts = self._log_bytes, self._facts
        await self._snapshots.write(job, self._reading)
        stores = self._snapshots.manifest.stores
        if job.plain is not None:
            self._log_bytes, self._facts = self._log_bytes - log_bytes, self._facts - facts
            self._snapshot_queued = False
        if job.is_whole:
            self._policy.resize({store_id: one.size for store_id, one in stores.items()})
        elif job.knowledge is not None:
            (store_id,) = job.knowledge.stores
            if store_id in stores:
                self._policy.end(job.number, stores[store_id].size)
            else:  # a snapshot of all stores, which came first, does not have it any more
                self._policy.give_up(job.number)

    def _give_up(self, job: SnapshotJob) -> None:
        """The snapshot is due again later."""
        self._snapshot_from = time.monotonic() + STORE_SNAPSHOT_RETRY
        if job.plain is not None:
            self._snapshot_queued = False
        else:
            self._policy.give_up(job.number)
