"""One replica's way to the state that several share: it waits for its turn, claims, and lets go at the end."""

from __future__ import annotations

import asyncio
import socket
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from gossipcontrol.server.config import Etcd, State, members
from gossipcontrol.server.core.core import Core, CoreParameters
from gossipcontrol.server.errors import NotOwner, StartError
from gossipcontrol.server.observe.log import Logger
from gossipcontrol.server.replicas.follower import Follower
from gossipcontrol.server.replicas.lapse import watch_lapses
from gossipcontrol.server.replicas.lease import Lease
from gossipcontrol.server.replicas.roster import Notice, Roster
from gossipcontrol.server.state.etcd_client import EtcdAccess, EtcdClient
from gossipcontrol.server.state.etcd_ledger import EtcdLedger
from gossipcontrol.server.state.etcd_notices import EtcdNotices
from gossipcontrol.server.state.journal import ClockReading, StateError
from gossipcontrol.server.state.ledger import Fenced, Late
from gossipcontrol.server.state.ledger_entry import FORMAT
from gossipcontrol.server.state.ledger_journal import RETRY, LedgerJournal
from gossipcontrol.system.boot import boot_id

VERSION = version("gossipcontrol")
"""Read once: the roster tells it every two seconds, and asks at every scrape."""


class Replica:
    """Made for one run of the service; ``trouble`` is told why etcd cannot be asked, and nothing once it can.

    Raises StartError if the files for etcd cannot be read.
    """

    def __init__(
        self, etcd: Etcd, state: State, parameters: CoreParameters, trouble: Callable[[str], None], log: Logger
    ) -> None:
        self._max_bytes = state.max_bytes
        client = EtcdClient(_access(etcd), lambda: read_access(etcd))
        self._ledger = EtcdLedger(client, etcd.cell)
        self._holder = f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
        self._address = etcd.address
        self.lease = Lease(self._ledger, self._holder, etcd.address, self._note_trouble)
        self._tell = trouble
        self.roster = Roster(EtcdNotices(client, self._ledger, etcd.cell), self._notice)
        self._follower = Follower(self._ledger, parameters, log)
        self._journal: LedgerJournal | None = None
        """Of the owner."""
        self._watching: asyncio.Task[None] | None = None
        """For lapses of the owner's lease."""
        self._trouble = ""
        """Why etcd cannot be asked."""

    def _note_trouble(self, why: str) -> None:
        self._trouble = why
        self._tell(why)

    async def take_over(self, changed: Callable[[], None], lost: Callable[[str], None]) -> LedgerJournal:
        """Wait for this replica's turn, and read what the last owner left; raises StartError.

        ``changed`` is called when another replica becomes the owner, ``lost`` when that happens after this one.
        """
        self.roster.start()
        following = asyncio.get_running_loop().create_task(self._follower.run())
        try:
            await self.lease.wait(changed)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        self.lease.start(lost)
        journal = LedgerJournal(self._ledger, self.lease, max_bytes=self._max_bytes)
        while True:
            try:
                await journal.claim(self._follower.drain)
            except Late as error:
                self.lease.trouble(str(error))
                await asyncio.sleep(RETRY)
            except (Fenced, StateError) as error:
                raise StartError(str(error)) from error
            else:
                self._journal = journal
                self.roster.write_soon()
                return journal

    async def recovered(self) -> tuple[Core, bool] | None:
        """After ``take_over``: the core as this replica followed it, and whether all knowledge must be kept anew.

        None: it did not follow, so the core must be recovered.
        """
        return await self._follower.finish()

    @property
    def position(self) -> int:
        """The last entry of the log that is in this replica's memory; 0: it loads a snapshot."""
        return self._journal.last if self._journal else self._follower.position

    @property
    def lag(self) -> int:
        """How many entries of the log it is behind."""
        return 0 if self._journal else self._follower.lag

    @property
    def diverged(self) -> int:
        """How often its replay had other effects than what the owner decided."""
        return self._follower.diverged

    @property
    def is_warm(self) -> bool:
        """Whether it serves, or could at once."""
        return self._journal is not None or self._follower.is_warm

    def _notice(self) -> Notice:
        """What this replica says of itself."""
        lease, is_owner = self.lease, self._journal is not None
        last = lease.owner
        return Notice(
            holder=self._holder, address=self._address, is_owner=is_owner,
            epoch=lease.epoch or (last.epoch if last else 0), applied=self.position if self.is_warm else None,
            head=self.position if is_owner else None, version=VERSION, format=FORMAT,
            at=lease.service_time() if is_owner else last.at if last else 0.0,
        )  # fmt: skip

    def refusal(self) -> NotOwner:
        """What a standby says to its callers."""
        owner = self.lease.owner
        retry_in = self.lease.due()
        if self.lease.epoch:
            return NotOwner("this replica is taking over", retry_in=retry_in)
        if owner is None or owner.released:
            return NotOwner("this replica stands by; none serves yet")
        place = owner.address or owner.holder
        return NotOwner(f"this replica stands by; {place} serves", owner.address, retry_in)

    def watch(self, changed: Callable[[], None], send_away: Callable[[], None]) -> None:
        """Watch the lease of this owner from now on, as ``watch_lapses`` does."""
        self._watching = asyncio.get_running_loop().create_task(watch_lapses(self.lease, changed, send_away))

    def admit(self) -> None:
        """Raise NotOwner while another replica may have taken over."""
        if obstacle := self.obstacle():
            raise NotOwner(obstacle)

    def obstacle(self) -> str:
        """Why this owner does not serve now; empty: it does."""
        if self.lease.is_sure():
            return ""
        why = f": {self._trouble}" if self._trouble else ""
        return f"this replica cannot renew its lease in etcd, so another may have taken over{why}"

    def reading(self, before: ClockReading | None) -> ClockReading | None:
        """How this replica's clocks stand to service time, or those of the owner before it if it saw that one not."""
        return self.lease.reading(boot_id(), time.time(), before) or before

    async def let_go(self) -> None:
        """Release the lease, so that a standby takes over at once, and close the connections."""
        await self._watch_no_more()
        with suppress(Late):
            await self.lease.release()
        await self.close()

    async def close(self) -> None:
        """Close the connections; a lease that is held runs out."""
        await self._watch_no_more()
        await self._follower.close()
        await self.lease.close()
        await self.roster.stop()
        await self._ledger.close()

    async def _watch_no_more(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
            self._watching = None


def _access(etcd: Etcd) -> EtcdAccess:
    try:
        return read_access(etcd)
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"etcd: {error}") from error


def read_access(etcd: Etcd) -> EtcdAccess:
    """What the files say now; raises OSError, UnicodeDecodeError."""
    return EtcdAccess(
        endpoints=members(etcd.endpoints),
        authority=_read(etcd.authority),
        certificate=_read(etcd.certificate),
        key=_read(etcd.key),
        user=etcd.user,
        password=(_read(etcd.password_file) or b"").decode().strip(),
        files=etcd,
    )


def _read(path: str) -> bytes | None:
    return Path(path).read_bytes() if path else None
