"""Snapshots in a ledger: written in chunks beside the log, then named in the manifest, then the log is cut."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from gossipcontrol.server.core.codec import Plain
from gossipcontrol.server.state.entry import KnowledgeEntry
from gossipcontrol.server.state.journal import ClockReading, KnowledgeSnapshot
from gossipcontrol.server.state.ledger import Fenced, Late, Ledger, Register
from gossipcontrol.server.state.ledger_entry import Batch, pack_batch
from gossipcontrol.server.state.ledger_manifest import (
    REGISTER,
    Manifest,
    Stored,
    covered,
    epoch_of,
    is_uncovered,
    read_manifest,
    write_manifest,
)
from gossipcontrol.server.state.pack import Packer

CHUNK_BYTES = 1 << 19
"""Bytes of a chunk; etcd takes at most 1.5 MiB."""
PACK_TIME = 0.02
"""Seconds for which a thread packs before the event loop goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotJob:
    """A snapshot to be written."""

    number: int
    """It holds all facts with smaller numbers."""
    at: float
    plain: Plain = None
    """That of deciding; None: there is none."""
    knowledge: KnowledgeSnapshot | None = None
    is_whole: bool = False
    """Whether ``knowledge`` is that of all stores."""
    is_barrier: bool = False
    """Whether later facts may be kept only after it, because they are decided with other parameters."""


class Snapshots:
    """Writes one snapshot at a time, and knows what of the log none covers."""

    def __init__(self, ledger: Ledger, epoch: int) -> None:
        self.manifest = Manifest()
        self._ledger = ledger
        self._epoch = epoch
        self._revision = 0
        """Of the manifest's register."""
        self._batches: deque[tuple[int, int]] = deque()
        """Entries of the log after the manifest's, each with the largest number of a fact in it."""
        self._uncovered: dict[int, KnowledgeEntry] = {}
        """Facts of knowledge by number that no snapshot of a store covers."""
        self._writing = asyncio.Lock()

    async def claim(self) -> None:
        """Make the manifest this owner's, so that no older owner swaps it any more; raises Late, Fenced."""
        while True:
            found = await self.check_owner()
            mine = replace(read_manifest(found.value), epoch=self._epoch)
            value = await asyncio.to_thread(write_manifest, mine)
            if await self._ledger.swap(REGISTER, value, found.revision) is not None:
                return

    async def check_owner(self) -> Register:
        """The manifest's register; raises Late, and Fenced if it is a newer owner's."""
        found = await self._ledger.register(REGISTER)
        if read_manifest(found.value).epoch > self._epoch:
            raise Fenced("another replica has taken over")
        return found

    def begin(self, manifest: Manifest, revision: int, entries: Iterable[tuple[int, KnowledgeEntry]]) -> None:
        """Go on from what was read."""
        self.manifest, self._revision = manifest, revision
        self._uncovered.update(entries)

    def add(self, seq: int, batch: Batch) -> None:
        """A batch was appended."""
        self._batches.append((seq, batch.entries[-1][0]))
        self._uncovered.update((number, one) for number, one in batch.entries if isinstance(one, KnowledgeEntry))

    async def write(self, job: SnapshotJob, clock: ClockReading | None) -> None:
        """Write a snapshot, once everything that it covers is appended; raises Late, Fenced."""
        async with self._writing:
            wanted = _still_wanted(job, self.manifest)
            if wanted is None:
                return
            job = wanted
            name = f"{self._epoch}-{job.number}"
            before, manifest = self.manifest, replace(self.manifest, epoch=self._epoch, clock=clock)
            if job.knowledge is not None:
                manifest = await self._write_stores(name, job, job.knowledge, manifest)
            uncovered = {n: one for n, one in self._uncovered.items() if is_uncovered(manifest, n, one)}
            if job.plain is not None:
                manifest = await self._write_deciding(name, job, manifest, uncovered)
            await self._swap(manifest)
            self._uncovered = {n: one for n, one in self._uncovered.items() if n in uncovered or n >= job.number}
            while self._batches and self._batches[0][0] <= manifest.seq:
                self._batches.popleft()
        with contextlib.suppress(Late):  # what is left goes with the next snapshot, or with the next owner
            for unused in before.names() - manifest.names():
                await self._ledger.delete_chunks(unused)
            await self.cut()

    async def cut(self) -> None:
        """Delete the log that snapshots cover; raises Late."""
        if self.manifest.seq:
            await self._ledger.cut(self.manifest.seq)

    async def clean(self) -> None:
        """Delete chunks that an owner left who died while it wrote them; raises Late."""
        async with self._writing:
            for unused in await self._ledger.chunk_names() - self.manifest.names():
                if epoch_of(unused) < self._epoch:  # else this or a newer owner writes them
                    await self._ledger.delete_chunks(unused)

    async def _write_deciding(
        self, name: str, job: SnapshotJob, manifest: Manifest, uncovered: dict[int, KnowledgeEntry]
    ) -> Manifest:
        packer = Packer(job.plain, keeps=job.is_barrier)
        while (body := await asyncio.to_thread(packer.step, PACK_TIME)) is None:
            pass
        seq = max([manifest.seq, *(seq for seq, number in self._batches if number < job.number)])
        tail = [(number, one) for number, one in sorted(uncovered.items()) if number < job.number]
        packed = await asyncio.to_thread(pack_batch, Batch(None, tail)) if tail else b""
        return replace(
            manifest,
            seq=seq,
            deciding=await self._put(f"{name}-d", job, _cut(body)),
            tail=await self._put(f"{name}-t", job, _cut(packed)) if tail else Stored(),
        )

    async def _write_stores(
        self, name: str, job: SnapshotJob, knowledge: KnowledgeSnapshot, manifest: Manifest
    ) -> Manifest:
        stores = {} if job.is_whole else dict(manifest.stores)
        for index, (store_id, capture) in enumerate(knowledge.stores.items()):
            stores[store_id] = await self._put(f"{name}-{index}", job, capture.parts())
        return replace(manifest, stores=stores, shared=knowledge.shared, shared_number=job.number)

    async def _put(self, name: str, job: SnapshotJob, parts: Iterator[bytes]) -> Stored:
        chunks = size = 0
        while (part := await asyncio.to_thread(partial(next, parts, None))) is not None:
            await self._ledger.put_chunk(name, chunks, part)
            chunks, size = chunks + 1, size + len(part)
        return Stored(name, chunks, size, job.number, float(job.at))

    async def _swap(self, manifest: Manifest) -> None:
        """Put the manifest in the place of the last one."""
        value = await asyncio.to_thread(write_manifest, manifest)
        while (swapped := await self._ledger.swap(REGISTER, value, self._revision)) is None:
            # It may have been done by an earlier swap of this owner, whose answer did not come.
            self._revision = (await self.check_owner()).revision
        self.manifest, self._revision = manifest, swapped.revision


def _still_wanted(job: SnapshotJob, manifest: Manifest) -> SnapshotJob | None:
    """What of a job is newer than the manifest: one that held up the log was written before those that waited."""
    if job.plain is not None and job.number < manifest.deciding.number:
        job = replace(job, plain=None)
    if job.knowledge is not None and not job.is_whole:
        stores = {one: kept for one, kept in job.knowledge.stores.items() if job.number >= covered(manifest, one)}
        is_newer = bool(stores) and job.number >= manifest.shared_number
        job = replace(job, knowledge=replace(job.knowledge, stores=stores) if is_newer else None)
    return job if job.plain is not None or job.knowledge is not None else None


def _cut(body: bytes) -> Iterator[bytes]:
    return (body[start : start + CHUNK_BYTES] for start in range(0, len(body), CHUNK_BYTES))
