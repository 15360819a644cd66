"""What a standby does meanwhile: it replays the owner's log as it grows, so that it can take over at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from gossipcontrol.server.core.core import Core, CoreParameters
from gossipcontrol.server.observe.log import Logger
from gossipcontrol.server.runtime.slices import Slice
from gossipcontrol.server.state.journal import StateError
from gossipcontrol.server.state.ledger import Cut, Fenced, Late, Ledger
from gossipcontrol.server.state.ledger_manifest import REGISTER, Manifest, read_manifest
from gossipcontrol.server.state.ledger_reading import UNREADABLE, Found, read_ledger, read_parts
from gossipcontrol.server.state.ledger_replay import DivergedError, Replay

LOOK_INTERVAL = 1.0
"""Seconds between two looks at how long the log is."""
SILENCE = 2.0
"""Seconds without an entry after which one is missed, if the log is longer than what came."""
SNAPSHOT_LOOKS = 10
"""Looks at the log for each look at which snapshots there are."""
RETRY = 0.5
"""Seconds between two tries to read a ledger that does not answer."""
UNREADABLE_RETRY = 30.0
"""Seconds between two tries to read what cannot be used."""


class OutdatedError(Exception):
    """A new owner may have begun with other parameters than those that are replayed with: its snapshot has them."""


class Follower:
    """Follows the log until it is cancelled; then ``drain`` reads the rest, and ``finish`` gives what it led to."""

    def __init__(self, ledger: Ledger, parameters: CoreParameters, log: Logger) -> None:
        self.position = 0
        """The last entry of the log that is replayed; 0 while a snapshot is loaded."""
        self.diverged = 0
        """How often a turn had other effects here than where it was decided."""
        self._ledger = ledger
        self._parameters = parameters
        self._log = log
        self._head = 0
        """The last entry of the log, as last seen."""
        self._replay: Replay | None = None
        self._loading: asyncio.Task[Replay] | None = None
        self._beyond = 0
        """Only a snapshot that holds this fact is loaded: its replay diverges."""
        self._why = ""
        """Why the log cannot be followed, as last logged."""

    @property
    def lag(self) -> int:
        """How many entries of the log it is behind."""
        return max(0, self._head - self.position)

    @property
    def is_warm(self) -> bool:
        """Whether it could take over without loading a snapshot."""
        return self.position > 0

    async def run(self) -> None:
        """Follow, until this is cancelled."""
        looking = asyncio.get_running_loop().create_task(self._look())
        try:
            while True:
                await self._try()
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def close(self) -> None:
        """Give up a snapshot that is being loaded."""
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)

    async def _try(self) -> None:
        """Load what is to be loaded, and follow until something is in the way."""
        try:
            replay = self._replay or await self._load()
            await self._follow(replay)
        except Late:
            await asyncio.sleep(RETRY)  # the lease says so
        except (Cut, OutdatedError):
            self._drop()
        except DivergedError as error:
            self._diverge(error)
        except Exception as error:  # noqa: BLE001 - a replay that stopped half-way must be given up, whatever it was
            self._drop()
            why = str(error) if isinstance(error, StateError) else repr(error)
            if self._why != why:
                self._why = why
                self._log.error("standby cannot follow", why=why)
            await asyncio.sleep(UNREADABLE_RETRY)

    async def _load(self) -> Replay:
        """Load the latest snapshots, and replay the log after them."""
        await self._until_snapshot()
        if self._loading is None:
            self._loading = asyncio.get_running_loop().create_task(self._read())
            self._loading.add_done_callback(_hear)
        # Whoever takes over meanwhile waits for it.
        replay = await asyncio.shield(self._loading)
        self._keep(replay)
        await self._catch_up(replay)
        self._log.info("standby follows", entry=replay.seq)
        return replay

    async def _until_snapshot(self) -> None:
        """Wait for one that holds what diverged."""
        while self._beyond:
            if (await self._manifest()).deciding.number > self._beyond:
                return
            await asyncio.sleep(LOOK_INTERVAL)

    async def _read(self) -> Replay:
        try:
            parts = await read_parts(self._ledger)
            return await asyncio.to_thread(Replay, parts, self._parameters)
        except BaseException:
            self._loading = None
            raise

    def _keep(self, replay: Replay) -> None:
        self._replay, self._loading, self._beyond, self._why = replay, None, 0, ""

    def _drop(self) -> None:
        self._replay, self.position = None, 0

    def _diverge(self, error: DivergedError) -> None:
        self.diverged += 1
        self._beyond = error.number
        self._drop()
        self._log.error("replay diverged", why=str(error))

    async def _follow(self, replay: Replay) -> None:
        """Replay what comes; returns where the ledger has more than it told."""
        async with aclosing(self._ledger.follow(replay.seq + 1)) as stream:
            while (found := await self._next(stream, replay)) is not None:
                replay.read(*found)
                self._head = max(self._head, replay.seq)
                await self._catch_up(replay)

    async def _next(self, stream: AsyncGenerator[tuple[int, bytes]], replay: Replay) -> tuple[int, bytes] | None:
        pending = asyncio.ensure_future(anext(stream))
        try:
            while not (await asyncio.wait({pending}, timeout=SILENCE))[0]:
                if self._head > replay.seq:
                    return None
            return pending.result()
        finally:
            if not pending.done():
                pending.cancel()
                await asyncio.gather(pending, return_exceptions=True)

    async def _catch_up(self, replay: Replay) -> None:
        """Replay what was read, while other work goes on. It can be cancelled, and called again."""
        if replay.batch_epoch > replay.epoch:
            # An owner with other parameters keeps nothing before a snapshot that has them.
            if (await self._manifest()).deciding.epoch >= replay.batch_epoch:
                raise OutdatedError
            replay.epoch = replay.batch_epoch
        own = Slice()
        while replay.left:
            replay.step()
            await own.rest()
        self.position = replay.seq

    async def _manifest(self) -> Manifest:
        return read_manifest((await self._ledger.register(REGISTER)).value)

    async def _look(self) -> None:
        """See how long the log is, and now and then what of it snapshots cover."""
        looks = 0
        while True:
            try:
                self._head = await self._ledger.last()
                if self._replay is not None and looks % SNAPSHOT_LOOKS == 0:
                    self._replay.cover(await self._manifest())
            except (Late, *UNREADABLE):
                pass  # the lease says so, or the next load
            looks += 1
            await asyncio.sleep(LOOK_INTERVAL)

    # Taking over.

    async def drain(self, ledger: Ledger, last: int) -> Found:
        """Replay the log up to this entry; where that cannot be, read everything, as ``read_ledger`` does."""
        try:
            if self._replay is None and self._loading is not None:
                self._keep(await self._loading)
            if (replay := self._replay) is not None:
                await self._drain(replay, ledger, last)
                register = await ledger.register(REGISTER)
                return replay.found(read_manifest(register.value), register.revision)
        except (Fenced, Late):
            raise
        except DivergedError as error:
            self._diverge(error)
        except Exception:  # noqa: BLE001 - a replay that stopped half-way must be given up, whatever it was
            self._drop()
        return await read_ledger(ledger, last)

    async def _drain(self, replay: Replay, ledger: Ledger, last: int) -> None:
        await self._catch_up(replay)
        async for seq, entry in ledger.read(replay.seq + 1):
            if seq > last:
                break
            if seq != replay.seq + 1:
                raise Cut
            replay.read(seq, entry)
            await self._catch_up(replay)
        if replay.seq != last:
            raise Cut

    async def finish(self) -> tuple[Core, bool] | None:
        """The core after a drain, and whether all knowledge must be kept anew; None: it must be recovered."""
        replay, self._replay = self._replay, None
        return None if replay is None else await asyncio.to_thread(replay.finish, self._parameters)


def _hear(loading: asyncio.Task[Replay]) -> None:
    """Whoever waited for it may have been cancelled."""
    if not loading.cancelled():
        loading.exception()
