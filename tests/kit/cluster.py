"""What a swarm and a fleet have in common: nodes on hosts of their own that start and stop together."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gossipcontrol.client import Client, PeerState

from tests.kit.network import Host, Network
from tests.kit.process import Line, Process
from tests.kit.started import Started

STORE = "notes"


class Cluster(Started):
    """Nodes with a service and watchers.

    Unix sockets cross network namespaces, so a test reaches the service of the nodes from outside.
    """

    network: Network
    service: Process
    """Only where the cluster is controlled."""

    def __init__(self, directory: Path, *, control: bool) -> None:
        super().__init__()
        self.directory = directory
        self.controlled = control
        self.nodes: list[Process] = []
        self.ids: list[str] = []
        self.watchers: list[Process] = []
        """Those of the first hosts."""

    @property
    def address(self) -> str:
        """The address of the service."""
        return f"unix:{self.directory}/gossipcontrol.sock"

    @property
    def hosts(self) -> list[Host]:
        """The hosts, in the order of the nodes."""
        return self.network.hosts

    @property
    def processes(self) -> list[Process]:
        """Every process of the cluster."""
        return [*self.nodes, *self.watchers, *([self.service] if self.controlled else [])]

    async def until_all_heard(self, since: float, within: float) -> float:
        """Wait until every node has heard every other since an instant; returns when (wall clock).

        Raises TimeoutError.
        """
        heard = await asyncio.gather(
            *(
                node.wait_for("heard", within, after=since, peer=peer_id)
                for node, node_id in zip(self.nodes, self.ids, strict=True)
                for peer_id in self.ids
                if peer_id != node_id
            )
        )
        return max(float(said["ts"]) for said in heard)

    async def called_away(self) -> list[str]:
        """The nodes that the service calls asleep or offline."""
        async with Client(self.address) as client:
            peers = [peer async for peer in client.list_peers(STORE)]
        away = (PeerState.ASLEEP, PeerState.OFFLINE)
        return [peer.peer_id for peer in peers if peer.peer_id in self.ids and peer.state in away]


def contact(line: Line, host: Host) -> str:
    """A node's id and the address that others dial, for ``--peer``, from the line in which it reports both."""
    where = next(str(address) for address in line["addresses"] if address.startswith(f"{host.address}:"))
    return f"{line['node']}@{where}"
