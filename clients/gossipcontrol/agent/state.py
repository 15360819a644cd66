"""What an agent keeps from one stream to the next."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from gossipcontrol.agent.event import AgentEvent
from gossipcontrol.agent.faults import Faults
from gossipcontrol.agent.node import Node
from gossipcontrol.agent.own_addresses import OwnAddresses
from gossipcontrol.agent.owner import Owner
from gossipcontrol.agent.presence_cache import PresenceCache
from gossipcontrol.agent.rejoin_executor import RejoinExecutor
from gossipcontrol.agent.report_builder import ReportBuilder
from gossipcontrol.agent.restart_command import RestartCommand
from gossipcontrol.agent.send_queue import SendQueue
from gossipcontrol.agent.sync_executor import SyncExecutor
from gossipcontrol.client.encode import capabilities
from gossipcontrol.client.presence import PeerChange
from gossipcontrol.v1 import attach_pb2, liveness_pb2


class AgentState:
    """The parts of an agent that outlive its streams; what the app's code raises ends here."""

    def __init__(
        self,
        node: Node,
        host_id: str,
        on_event: Callable[[AgentEvent], None],
        on_peer: Callable[[str, PeerChange], None],
        name: str = "",
        restart_command: Sequence[str] = (),
    ) -> None:
        self.faults = Faults()
        self.queue = SendQueue()
        self.reports = ReportBuilder()
        self.rejoins = RejoinExecutor(node, self.queue.wanted.set, self.faults)
        self.restarts = RestartCommand(restart_command, self.queue.wanted.set)
        self.syncs = SyncExecutor(node, self.queue.wanted.set, faults=self.faults)
        self.presence = PresenceCache(self._peer_changed)
        self.addresses = OwnAddresses(node, self.queue.add_registration, self.faults, on_change=self._addresses_changed)
        self.owner = Owner()
        self.awaiting_proof: dict[str, float] = {}
        """Stores in which a rejoin began, and no message was received since -> when the command came."""
        self.paused = False
        self.leaving = False
        self._node = node
        self._host_id = host_id
        self._name = name
        self._on_event = on_event
        self._on_peer = on_peer
        self._incarnation = uuid.uuid4().hex
        self._stores: Sequence[str] = ()

    def emit(self, event: AgentEvent) -> None:
        """Give an event to the app."""
        self.faults.notify(self._on_event, event)

    def stores(self) -> Sequence[str]:
        """The node's stores; when the node cannot tell, those that it named last."""
        try:
            self._stores = tuple(self._node.stores())
        except Exception:  # noqa: BLE001 - the node is the user's code
            self.faults.node_raised("stores")
        return self._stores

    def registration(self) -> attach_pb2.Register:
        """The frame that registers the node; raises ConnectionError when the node cannot tell what to register."""
        try:
            return attach_pb2.Register(
                node_id=self._node.node_id,
                store_ids=self._node.stores(),
                host_id=self._host_id,
                capabilities=capabilities(self._node.capabilities),
                addresses=self.addresses.read(),
                incarnation=self._incarnation,
                agent=_agent_name(),
                name=self._name,
            )
        except Exception as error:
            self.faults.node_raised("stores, capabilities or addresses")
            raise ConnectionError(f"the node cannot be registered: {type(error).__name__}: {error}") from error

    def report(self, store_id: str) -> liveness_pb2.LivenessReport:
        """The report of a store now."""
        report = self.presence.add_version(self.reports.report(store_id))
        report.going_to_sleep = self.paused
        return report

    def report_all(self) -> None:
        """Report every store now."""
        self.queue.add_reports(self.stores())

    def resume(self) -> None:
        """The node speaks again, if it was paused."""
        if self.paused:
            self.paused = False
            self.report_all()

    def _addresses_changed(self, addresses: Sequence[str]) -> None:
        self.emit(AgentEvent("addresses", ", ".join(addresses) or "none that peers can dial"))

    def _peer_changed(self, store_id: str, change: PeerChange) -> None:
        self.faults.check(change.after)
        self.faults.notify(self._on_peer, store_id, change)


@cache
def _agent_name() -> str:
    """Name and version of this agent."""
    try:
        return f"gossipcontrol-agent/{version('gossipcontrol')}"
    except PackageNotFoundError:  # imported from a source tree
        return "gossipcontrol-agent"
