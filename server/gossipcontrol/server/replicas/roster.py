"""What each replica says of itself in etcd every few seconds, and what the owner makes of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Protocol, cast

from gossipcontrol.server.state.ledger import Late
from gossipcontrol.system.boot import boottime

INTERVAL = 2.0
"""Seconds between two notices of a replica."""
LIVE_TIME = 15.0
"""Seconds without a new notice after which a replica does not count as a standby any more."""
GONE_TIME = 60.0
"""Seconds without a new notice after which the owner deletes the last one; by its own clock, so no other is trusted."""
MOST = 64
"""Replicas that are listed."""
MOST_BYTES = 4096
"""Of a notice; a longer one is none of ours."""
WITHDRAW_TIME = 1.0
"""Most seconds that the end of a replica waits for etcd to delete its notice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What a replica says of itself."""

    holder: str
    """A run of the replica."""
    address: str = ""
    """Where clients reach it; empty: it does not say."""
    is_owner: bool = False
    epoch: int = 0
    """Its own, or that of the owner which it saw last."""
    applied: int | None = None
    """Number of the last log entry in its memory; None: it reads the log when it takes over."""
    head: int | None = None
    """Number of the log's last entry just before; None where ``applied`` is."""
    version: str = ""
    """Of GossipControl."""
    format: int = 0
    """Newest format of the log that it reads."""
    at: float = 0.0
    """Service time, which makes each notice differ from the last one."""
    number: int = 0
    """Counts its notices."""


def write_notice(notice: Notice) -> bytes:
    """The value of its key."""
    return json.dumps(asdict(notice)).encode()


_KINDS: Mapping[str, tuple[type, ...]] = {
    "holder": (str,), "address": (str,), "is_owner": (bool,), "epoch": (int,), "applied": (int, type(None)),
    "head": (int, type(None)), "version": (str,), "format": (int,), "at": (int, float), "number": (int,),
}  # fmt: skip


def read_notice(holder: str, value: bytes) -> Notice | None:
    """The notice; None if it is none. Fields of a newer version are left out."""
    if len(value) > MOST_BYTES:
        return None
    try:
        plain = json.loads(value)
    except ValueError:
        return None
    if not isinstance(plain, dict):
        return None
    known = {name: one for name, one in cast("dict[str, Any]", plain).items() if name in _KINDS}
    if any(type(one) not in _KINDS[name] for name, one in known.items()):
        return None
    known["holder"] = holder
    return Notice(**known)


assert _KINDS.keys() == {field.name for field in fields(Notice)}


class Notices(Protocol):
    """Where the notices are. Every call may raise ``Late``."""

    async def put(self, holder: str, value: bytes) -> None:
        """Write a notice."""
        ...

    async def all(self, most: int) -> Mapping[str, bytes]:
        """The notices by their holders, at most so many."""
        ...

    async def delete(self, holder: str) -> None:
        """Delete a notice."""
        ...

    async def head(self) -> int:
        """Number of the log's last entry."""
        ...


@dataclass(frozen=True, slots=True)
class Listed:
    """One replica as the owner sees it."""

    notice: Notice
    role: str
    """``owner``, ``standby`` or ``replaced``."""
    age: float
    """Seconds since it was seen to say something new."""

    @property
    def lag(self) -> int | None:
        """Log entries that it was behind when it said so; None: it holds none in memory."""
        notice = self.notice
        if notice.applied is None:
            return None
        return max(0, (notice.head or 0) - notice.applied)


class Roster:
    """Writes this replica's notices, and, while it owns the state, reads those of all. ``mine`` makes its next one."""

    def __init__(self, notices: Notices, mine: Callable[[], Notice], *, now: Callable[[], float] = boottime) -> None:
        self._notices = notices
        self._mine = mine
        self._now = now
        self._seen: dict[str, tuple[bytes, float]] = {}
        """By holder: its last notice, and when it came. Another thread reads it, so it is replaced, not changed."""
        self._count = 0
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def write_soon(self) -> None:
        """Something has changed that others should see at once."""
        self._news.set()

    async def stop(self) -> None:
        """Write no more, and delete the notice, unless etcd does not answer soon."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
        with suppress(Late, TimeoutError):
            async with asyncio.timeout(WITHDRAW_TIME):
                await self._notices.delete(self._mine().holder)

    def listed(self) -> list[Listed]:
        """The owner, which this replica is, and the others by id."""
        mine, now = self._mine(), self._now()
        rows = [Listed(mine, "owner", 0.0)]
        for holder, (value, since) in sorted(self._seen.items()):
            notice = read_notice(holder, value)
            if notice is not None and holder != mine.holder:
                rows.append(Listed(notice, "replaced" if notice.is_owner else "standby", now - since))
        return rows[:MOST]

    def standbys(self) -> list[Listed]:
        """The replicas that can take over."""
        return [one for one in self.listed() if one.role == "standby" and one.age < LIVE_TIME]

    async def _run(self) -> None:
        while True:
            self._news.clear()
            with suppress(Late):  # whoever renews the lease says that etcd does not answer
                await self.exchange()
            with suppress(TimeoutError):
                async with asyncio.timeout(INTERVAL):
                    await self._news.wait()

    async def exchange(self) -> None:
        """Say how this replica is, and, as the owner, hear of the others; raises Late."""
        mine = await self._next()
        await self._notices.put(mine.holder, write_notice(mine))
        if not mine.is_owner:
            self._seen = {}
            return
        found, now = await self._notices.all(2 * MOST), self._now()
        before = self._seen
        seen = {
            holder: before[holder] if before.get(holder, (b"", 0.0))[0] == value else (value, now)
            for holder, value in found.items()
        }
        gone = [holder for holder, (_, since) in seen.items() if now - since > GONE_TIME]
        self._seen = {holder: one for holder, one in seen.items() if holder not in gone}
        for holder in gone:
            await self._notices.delete(holder)

    async def _next(self) -> Notice:
        """The next notice; a hot standby asks how far the log is before it looks how far it is itself."""
        self._count += 1
        mine = self._mine()
        if mine.applied is not None and not mine.is_owner:
            head = await self._notices.head()
            mine = replace(self._mine(), head=head)
        return replace(mine, number=self._count)
