"""The keys ``gc/1/CELL/replicas/HOLDER`` in etcd: what the replicas of a cell say of themselves."""

from __future__ import annotations

from gossipcontrol.etcd.v3 import etcd_pb2
from gossipcontrol.server.state.etcd_client import EtcdClient
from gossipcontrol.server.state.etcd_ledger import FORMAT, EtcdLedger


class EtcdNotices:
    """The interface of ``Notices``."""

    def __init__(self, client: EtcdClient, ledger: EtcdLedger, cell: str) -> None:
        self._client = client
        self._ledger = ledger
        self._prefix = f"gc/{FORMAT}/{cell}/replicas"

    async def put(self, holder: str, value: bytes) -> None:
        """Write a notice."""
        await self._client.put(self._key(holder), value)

    async def all(self, most: int) -> dict[str, bytes]:
        """The notices by their holders, at most so many."""
        request = etcd_pb2.RangeRequest(key=self._key(""), range_end=f"{self._prefix}0".encode(), limit=most)
        found = await self._client.range(request)
        return {one.key.rpartition(b"/")[2].decode(errors="replace"): one.value for one in found.kvs}

    async def delete(self, holder: str) -> None:
        """Delete a notice."""
        key = self._key(holder)
        await self._client.delete_range(key, key + b"\0")

    async def head(self) -> int:
        """Number of the log's last entry."""
        return await self._ledger.last()

    def _key(self, holder: str) -> bytes:
        return f"{self._prefix}/{holder}".encode()
