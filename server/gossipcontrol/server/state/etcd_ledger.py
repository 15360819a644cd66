"""The ledger in etcd: a transaction compares the head of the log and appends, so that a stale owner cannot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing

from gossipcontrol.etcd.v3 import etcd_pb2
from gossipcontrol.server.state.etcd_client import PAUSE, EtcdClient
from gossipcontrol.server.state.ledger import Cut, Fenced, Register

FORMAT = 1
"""Of the keys; it stands in each of them."""
PAGE_ENTRIES = 48
"""Entries read at a time: also the largest, of a mebibyte each, fit into one answer."""
PAGE_CHUNKS = 8
"""Chunks read at a time."""
PAGE_KEYS = 10_000
"""Keys without values read at a time."""
_MOD, _VALUE = 2, 3
"""What a comparison may compare."""


class EtcdLedger:
    """The keys of one cell: ``gc/1/CELL/head``, ``log/NUMBER``, ``register/NAME``, ``chunk/NAME/NUMBER``."""

    def __init__(self, client: EtcdClient, cell: str) -> None:
        self._client = client
        self._prefix = f"gc/{FORMAT}/{cell}"

    async def last(self) -> int:
        """Number of the last entry; 0: there is none."""
        found = await self._client.range(etcd_pb2.RangeRequest(key=self._key("head")))
        return int(found.kvs[0].value) if found.kvs else 0

    async def append(self, seq: int, body: bytes) -> None:
        """Append an entry; raises Fenced, Late."""
        head, key = self._key("head"), self._log(seq)
        request = etcd_pb2.TxnRequest(
            compare=[_is_value(head, str(seq - 1).encode()) if seq > 1 else _is_revision(head, 0)],
            success=[_put(head, str(seq).encode()), _put(key, body)],
            failure=[_get(head), _get(key)],
        )
        answer = await self._client.txn(request)
        if answer.succeeded:
            return
        found, kept = (one.response_range.kvs for one in answer.responses)
        if not (found and int(found[0].value) == seq and kept and kept[0].value == body):
            raise Fenced(f"the log's last entry is {found[0].value.decode() if found else 'gone'}, not {seq - 1}")

    async def read(self, start: int) -> AsyncIterator[tuple[int, bytes]]:
        """The entries from this number on, in order."""
        async for key, body in self._page(self._log(start), self._key("log0"), PAGE_ENTRIES):
            yield _seq(key), body

    async def follow(self, start: int) -> AsyncGenerator[tuple[int, bytes]]:
        """The entries from this number on, and all that come later; raises Cut, Late."""
        end = self._key("log0")
        while True:
            request = etcd_pb2.RangeRequest(key=self._log(start), range_end=end, limit=PAGE_ENTRIES)
            answer = await self._client.range(request)
            for seq, body in _entries(answer.kvs, start):
                yield seq, body
                start = seq + 1
            if answer.more:
                continue
            watch = self._client.watch(self._log(start), end, answer.header.revision + 1)
            async with aclosing(watch) as changes:
                async for some in changes:
                    for seq, body in _entries(some, start):
                        yield seq, body
                        start = seq + 1
            await asyncio.sleep(PAUSE)

    async def register(self, name: str) -> Register:
        """The register of this name."""
        return _register((await self._client.range(etcd_pb2.RangeRequest(key=self._key(f"register/{name}")))).kvs)

    async def swap(self, name: str, value: bytes, revision: int) -> Register | None:
        """Change a register that has this revision."""
        key = self._key(f"register/{name}")
        request = etcd_pb2.TxnRequest(
            compare=[_is_revision(key, revision)], success=[_put(key, value)], failure=[_get(key)]
        )
        answer = await self._client.txn(request)
        if answer.succeeded:
            return Register(value, answer.header.revision)
        found = _register(answer.responses[0].response_range.kvs)
        return found if found.value == value else None

    async def put_chunk(self, name: str, number: int, body: bytes) -> None:
        """Store one chunk."""
        await self._client.put(self._key(f"chunk/{name}/{number:06}"), body)

    async def chunks(self, name: str) -> AsyncIterator[bytes]:
        """The chunks of this name by number."""
        async for _, body in self._page(self._key(f"chunk/{name}/"), self._key(f"chunk/{name}0"), PAGE_CHUNKS):
            yield body

    async def chunk_names(self) -> set[str]:
        """The names of all chunks that are stored."""
        keys, end, more = self._key("chunk/"), self._key("chunk0"), True
        names: set[str] = set()
        while more:
            request = etcd_pb2.RangeRequest(key=keys, range_end=end, limit=PAGE_KEYS, keys_only=True)
            answer = await self._client.range(request)
            names.update(one.key.split(b"/")[-2].decode() for one in answer.kvs)
            more = answer.more
            keys = answer.kvs[-1].key + b"\0" if more else keys
        return names

    async def delete_chunks(self, name: str) -> None:
        """Delete all chunks of this name."""
        await self._client.delete_range(self._key(f"chunk/{name}/"), self._key(f"chunk/{name}0"))

    async def cut(self, seq: int) -> None:
        """Delete the entries before this one, and have etcd forget all that was deleted or replaced before."""
        await self._client.delete_range(self._log(0), self._log(seq))
        found = await self._client.range(etcd_pb2.RangeRequest(key=self._key("head")))
        await self._client.compact(found.header.revision)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _page(self, key: bytes, end: bytes, limit: int) -> AsyncIterator[tuple[bytes, bytes]]:
        """Keys and values, some at a time; ``end`` is the prefix with its slash counted up to the next character."""
        more = True
        while more:
            answer = await self._client.range(etcd_pb2.RangeRequest(key=key, range_end=end, limit=limit))
            for one in answer.kvs:
                yield one.key, one.value
                key = one.key + b"\0"
            more = answer.more

    def _key(self, name: str) -> bytes:
        return f"{self._prefix}/{name}".encode()

    def _log(self, seq: int) -> bytes:
        return self._key(f"log/{seq:016}")


def _seq(key: bytes) -> int:
    return int(key.rpartition(b"/")[2])


def _entries(found: Sequence[etcd_pb2.KeyValue], start: int) -> Iterator[tuple[int, bytes]]:
    """The entries from this number on; raises Cut where one is missing."""
    for one in found:
        if (seq := _seq(one.key)) != start:
            raise Cut(f"entry {start} of the log is not there any more")
        yield seq, one.value
        start += 1


def _register(found: Sequence[etcd_pb2.KeyValue]) -> Register:
    return Register(found[0].value, found[0].mod_revision) if found else Register(b"", 0)


def _is_value(key: bytes, value: bytes) -> etcd_pb2.Compare:
    return etcd_pb2.Compare(target=_VALUE, key=key, value=value)


def _is_revision(key: bytes, revision: int) -> etcd_pb2.Compare:
    return etcd_pb2.Compare(target=_MOD, key=key, mod_revision=revision)


def _put(key: bytes, value: bytes) -> etcd_pb2.RequestOp:
    return etcd_pb2.RequestOp(request_put=etcd_pb2.PutRequest(key=key, value=value))


def _get(key: bytes) -> etcd_pb2.RequestOp:
    return etcd_pb2.RequestOp(request_range=etcd_pb2.RangeRequest(key=key))
