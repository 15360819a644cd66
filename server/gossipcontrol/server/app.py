"""Wiring: makes the parts, starts the servers, and stops them in order."""

from __future__ import annotations

import asyncio
import secrets
import ssl
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, cast

import grpc
from gossipcontrol.server.access.caller import EVERYBODY, Authenticate, ByToken
from gossipcontrol.server.access.entrance import Entrances
from gossipcontrol.server.access.quota import Quotas
from gossipcontrol.server.access.signature import Verifier, load_verifier
from gossipcontrol.server.access.word import Words
from gossipcontrol.server.config import LOOPBACK, Config, Traces, origins
from gossipcontrol.server.core.core import Core
from gossipcontrol.server.core.diagnosis.neighbor_graph import NeighborGraph
from gossipcontrol.server.core.event import OwnerChanged, ServiceStarted
from gossipcontrol.server.core.memory import STREAM
from gossipcontrol.server.drivers.agent import AgentDriver
from gossipcontrol.server.errors import (
    NotOwner,
    OwnershipLost,
    PermissionDenied,
    StartError,
    Stopping,
    Unauthenticated,
)
from gossipcontrol.server.observe.calls import CallLog
from gossipcontrol.server.observe.events import EventLog
from gossipcontrol.server.observe.log import Logger
from gossipcontrol.server.observe.metrics import Metrics
from gossipcontrol.server.observe.metrics_knowledge import KnowledgeMetrics
from gossipcontrol.server.observe.metrics_presence import LivenessMetrics
from gossipcontrol.server.observe.metrics_replicas import show_replicas, show_wall_clock
from gossipcontrol.server.observe.tasks import log_tasks
from gossipcontrol.server.opening import core_parameters, open_journal, recover_core
from gossipcontrol.server.replicas.replica import Replica
from gossipcontrol.server.replicas.standby import Standby
from gossipcontrol.server.rpc.gossip_control import GossipControlService
from gossipcontrol.server.rpc.health import BoundedHealth, HubHealth
from gossipcontrol.server.rpc.intention_source import IntentionSource
from gossipcontrol.server.rpc.interceptor import Handler, WrappingServer
from gossipcontrol.server.rpc.options import server_options
from gossipcontrol.server.rpc.peer_knowledge import PeerKnowledgeService
from gossipcontrol.server.rpc.resume_token import ResumeTokens
from gossipcontrol.server.rpc.session import Run
from gossipcontrol.server.rpc.subscriptions import SubscriptionHub
from gossipcontrol.server.runtime.clock import JUMP, LONGEST_AWAY, ServiceClock
from gossipcontrol.server.runtime.dispatcher import Dispatcher
from gossipcontrol.server.runtime.knowledge_dispatcher import KnowledgeDispatcher
from gossipcontrol.server.runtime.outbox import Outbox
from gossipcontrol.server.runtime.retry import RetryRule
from gossipcontrol.server.runtime.staleness_sampler import StalenessSampler
from gossipcontrol.server.runtime.turns import Turns
from gossipcontrol.server.runtime.wall_clock import WallClock
from gossipcontrol.server.state.journal import Journal, Loaded, StateError
from gossipcontrol.server.state.recovery import written_with
from gossipcontrol.server.status_page.event_stream import RejoinNews
from gossipcontrol.server.status_page.page_guard import OnDenied, PageGuard
from gossipcontrol.server.status_page.pages import Pages, make_site
from gossipcontrol.server.status_page.server import PageServer, open_pages
from gossipcontrol.server.wire.encode_replicas import replicas_response
from gossipcontrol.server.wire.unrecognized import Unrecognized
from gossipcontrol.system.boot import boot_id
from gossipcontrol.v1 import (
    gossip_control_pb2,
    gossip_control_pb2_grpc,
    peer_knowledge_pb2,
    peer_knowledge_pb2_grpc,
)
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

if TYPE_CHECKING:
    from gossipcontrol.server.connect_rpc.listener import ConnectListener
    from gossipcontrol.server.observe.traces import CallTraces

DESCRIPTORS = (
    gossip_control_pb2.DESCRIPTOR.services_by_name["GossipControl"],
    peer_knowledge_pb2.DESCRIPTOR.services_by_name["PeerKnowledge"],
)
SERVICES = tuple(service.full_name for service in DESCRIPTORS)
HEALTH = health.SERVICE_NAME


class App:
    """One service: made from its configuration, started, stopped."""

    def __init__(self, config: Config, log: Logger, verifier: Verifier | None = None) -> None:
        """``verifier`` tells right signatures of intentions, in place of that of ``access.verifier``."""
        self._verifier = verifier
        self.metrics_port = 0
        self.ports: dict[str, int] = {}
        """Ports by the key of the configuration that opens them; 0: a Unix socket."""
        self.http_port = 0
        self._config = config
        self._log = log
        self.wall_clock = WallClock(log)
        self._calls = CallLog(log)
        self._servers: list[grpc.aio.Server] = []
        self._health = BoundedHealth()
        self._health_changes: set[asyncio.Task[None]] = set()
        self._page_server: PageServer | None = None
        self._connects: list[ConnectListener] = []
        self._traces: CallTraces | None = None
        self._obstacle = "the service is starting"
        self._started_at = time.monotonic()
        self._is_open = False
        self._outbox: Outbox | None = None
        self._replica: Replica | None = None
        """This one's part among several; None: there are no others."""
        self._loss = self._etcd_trouble = ""
        self.is_serving = False
        self.is_standing_by = False
        self.lost = asyncio.Event()
        """Set once another replica has taken over: this one must stop."""

    @property
    def tcp_port(self) -> int:
        """The port of ``listen.tcp``; 0: none."""
        return self.ports.get("listen.tcp", 0)

    @property
    def is_traced(self) -> bool:
        """Whether calls have spans."""
        return self._traces is not None

    async def start(self, standing_by: Callable[[], None] = lambda: None) -> None:
        """Read the state and serve; raises StartError, and has then let go of everything.

        With replicas it first waits for its turn, and can be cancelled meanwhile; ``standing_by`` is called then.
        """
        try:
            self._entrances = Entrances(self._config, self._warn_of_access)
            if self._config.state.backend == "etcd":
                await self._open_shared(standing_by)
            else:
                self._open()
            await self._serve()
            self.is_serving = True
        except (StartError, asyncio.CancelledError):
            await self._abandon()
            raise

    async def stop(self) -> None:
        """Say NOT_SERVING, let calls under way end for the drain time, and go; raises OwnershipLost."""
        self._log.info("stopping")
        self._obstacle = "the service is stopping"
        self.is_serving = False
        await self._health.enter_graceful_shutdown()
        if self._replica:
            self._service.hand_over()
        for session in self._agents.sessions():
            session.close(Stopping("the service is stopping"))
        self._hub.close(Stopping("the service is stopping"))
        drain = 0.0 if self._loss else self._config.limits.drain  # whoever waits is refused already
        stops = [server.stop(drain) for server in self._servers]
        await asyncio.gather(*stops, *(listener.stop(drain) for listener in self._connects))
        await self._close()
        await asyncio.to_thread(self._stop_pages)
        self._log.info("stopped")
        if self._loss:
            raise OwnershipLost(self._loss)

    def apply(self, config: Config) -> None:
        """Take over what can change while the service runs (``reload.LIVE``)."""
        self._config = config
        self._log.configure(config.log)
        self._retry.configure(config.retry)
        self._entrances.refresh()
        self._hub.limit = config.limits.watchers
        self._quotas.defaults = config.identity_limits

    def dump(self) -> None:
        """Log what the tasks wait for, while the service serves."""
        if not self.is_serving:
            return
        counts = self._dispatcher.core.counts()
        log_tasks(
            asyncio.all_tasks(), self._log, agents=self._agents.count, watchers=self._hub.count,
            waiting=counts.queued, running=counts.running, parked=counts.parked,
        )  # fmt: skip

    # Parts.

    def _open(self) -> None:
        """Read the state, and make the parts around a core that goes on where the last run ended."""
        journal = open_journal(self._config.state)
        try:
            loaded = journal.load()
            core, whole = recover_core(self._config, loaded)
        except StateError as error:
            journal.close()
            raise StartError(str(error)) from error
        self._go_on(journal, loaded, core, whole)

    async def _open_shared(self, standing_by: Callable[[], None]) -> None:
        """The same with the state that replicas share, once it is this one's turn."""
        config = self._config
        replica = self._replica = Replica(
            config.etcd, config.state, core_parameters(config), self._warn_of_etcd, self._log
        )

        def changed() -> None:
            owner = replica.lease.owner
            self._log.info("standing by", owner=owner and (owner.address or owner.holder), epoch=owner and owner.epoch)

        standby = Standby(
            self._entrances, server_options(config.limits), SERVICES, replica.refusal,
            lambda path, error: self._log.error("page failed", path=path, exc_info=error), self.wall_clock, replica,
        )  # fmt: skip
        try:
            host = config.metrics.address.rpartition(":")[0]
            await standby.start(config.metrics.address, *self._page_access(host, self._calls.denied))
            self.is_standing_by = True
            standing_by()
            journal = await replica.take_over(changed, self._lose)
            self.is_standing_by = False
            loaded = journal.load()
            followed, has_followed = await replica.recovered(), True
            if followed is None:  # in a thread, so that the lease is renewed meanwhile
                followed, has_followed = await asyncio.to_thread(recover_core, config, loaded), False
            core, whole = followed
        except StateError as error:
            raise StartError(str(error)) from error
        finally:
            self.is_standing_by = False
            await standby.stop()
        if self._loss:
            raise StartError(self._loss)
        self._log.info("owner", epoch=replica.lease.epoch, entries=len(loaded.entries), followed=has_followed)
        self._go_on(journal, replace(loaded, clock=replica.reading(loaded.clock)), core, whole)
        replica.lease.service_time = self._dispatcher.clock.now

    def _lose(self, why: str) -> None:
        """Another replica has taken over."""
        self._loss = self._loss or why
        if self._outbox is not None:
            self._outbox.lose(why)
        self.lost.set()

    def _send_away(self) -> None:
        """Another replica may own the state by now: end the streams, for their other ends to find it."""
        assert self._replica is not None
        error = NotOwner(self._replica.obstacle() or "another replica may have taken over")
        if sessions := self._agents.sessions():
            self._log.warning("agents sent away", agents=len(sessions), why=str(error))
        for session in sessions:
            session.cut(error)
        self._hub.close(error)

    def _go_on(self, journal: Journal, loaded: Loaded, core: Core, whole: bool) -> None:
        """Make the parts around a core that is as the last run left it."""
        epoch = self._replica.lease.epoch if self._replica else 0
        run = Run(uuid.uuid4().hex[:8], self._config.etcd.cell if self._replica else "", epoch)
        clock = ServiceClock(floor=loaded.last_at, boot_id=boot_id(), reading=loaded.clock, cautious=journal.shared)
        if abs(clock.jumped) > JUMP:
            self._log.warning("wall clock jumped", seconds=round(clock.jumped, 3), bound=LONGEST_AWAY)
        self.metrics = Metrics(core.counts)
        show_replicas(self.metrics.registry, self._replica)
        show_wall_clock(self.metrics.registry, self.wall_clock)
        self.metrics.show_state(journal.stats)
        self.metrics.show_memory(core.memory)
        self._turns = Turns()
        self._quotas = Quotas(self._config.identity_limits, self.metrics.count_limited)
        outbox = self._outbox = Outbox(
            journal, core, self.metrics, self._log, clock, lambda _: self._show_health(), self._turns, self._lose
        )
        self._make_runtime(core, clock, outbox)
        self._is_open = True
        # A log that goes on with the same parameters needs no snapshot, which would hold up what comes.
        if whole or not journal.shared or written_with(loaded, core.parameters) != core.parameters:
            outbox.begin(clock.now(), whole=whole)
        changes_owner = journal.shared and epoch > 1
        self._dispatcher.submit(OwnerChanged(run.run_id, epoch) if changes_owner else ServiceStarted(run.run_id))
        self._make_service(run)

    def _make_runtime(self, core: Core, clock: ServiceClock, outbox: Outbox) -> None:
        config, log = self._config, self._log
        liveness_metrics = LivenessMetrics(self.metrics.registry, config.metrics.stores, core.liveness)
        self._sampler = StalenessSampler(core.liveness, clock, liveness_metrics.observe_age, self._turns)
        liveness_metrics.show_claims(core.claims_refused)
        liveness_metrics.show_stalest(self._sampler.stalest, clock.now)
        self._hub = SubscriptionHub(config.limits.watchers)
        self._agents = AgentDriver()
        core.memory.add("streams", self._count_streams, STREAM, outside=True)
        followers = (liveness_metrics.label_store, self._sampler.track, self._hub.notify)

        def presence_changed(store_id: str) -> None:
            for follow in followers:
                follow(store_id)

        self._news = RejoinNews()
        events = EventLog(self.metrics, liveness_metrics, log, self._news.notify)
        self._retry = RetryRule(config.retry)
        self._dispatcher = Dispatcher(core, clock, self._agents, self._retry, events, log, outbox, presence_changed)
        knowledge_metrics = KnowledgeMetrics(self.metrics.registry, config.metrics.stores)
        self._knowledge = KnowledgeDispatcher(self._dispatcher, knowledge_metrics)
        verifier = self._verifier or load_verifier(config.access.verifier)
        self._words = Words(verifier, core.knowledge.knows, knowledge_metrics.count_signature, self._warn_of_verifier)

    def _denied(self, method: str, peer: str, identity: str, error: PermissionDenied | Unauthenticated) -> None:
        self.metrics.count_denied(error)
        self._calls.denied(method, peer, identity, error)

    def _warn_of_etcd(self, why: str) -> None:
        if why and not self._etcd_trouble:
            self._log.warning("etcd not reached", why=why)
        elif self._etcd_trouble and not why:
            self._log.info("etcd reached again")
        self._etcd_trouble = why

    def _warn_of_access(self, error: Exception) -> None:
        self._log.error("access not reloaded", mistake=str(error))

    def _warn_of_verifier(self, error: Exception) -> None:
        self._log.error("verifier failed", exc_info=error)

    def _count_streams(self) -> int:
        return self._agents.count + self._hub.count + self._health.count

    def _make_service(self, run: Run) -> None:
        self._traces = open_traces(self._config.traces)
        tokens = ResumeTokens(secrets.randbelow(2**31 - 1) + 1)
        unrecognized = Unrecognized(self.metrics.count_unrecognized, self._log.warning)
        source = IntentionSource(self._words, self._dispatcher.clock.now)
        self._service = service = GossipControlService(
            self._dispatcher, self._agents, self.metrics, run, self._knowledge, self._hub, self._sampler, tokens,
            unrecognized.note, source, self._quotas, self._list_replicas,
        )  # fmt: skip
        self._dispatcher.core.memory.add("streams", service.unregistered, STREAM, outside=True)
        self._dispatcher.core.memory.add("queues", service.queued_bytes, outside=True)
        self._knowledge_service = PeerKnowledgeService(self._knowledge, source)

    def _list_replicas(self) -> gossip_control_pb2.ListReplicasResponse:
        return replicas_response(self._replica.roster.listed() if self._replica else (), self._config.state)

    def _make_server(self, authenticate: Authenticate, *, is_private: bool) -> WrappingServer:
        """A server for some ways in, whose callers are told apart by ``authenticate``."""
        server = grpc.aio.server(options=server_options(self._config.limits))
        wrapping = WrappingServer(
            server,
            self.metrics,
            self._log,
            self._turns,
            authenticate,
            self._traces,
            self._quotas,
            self._calls,
            self._replica.admit if self._replica else None,
        )
        target = cast("grpc.aio.Server", wrapping)
        gossip_control_pb2_grpc.add_GossipControlServicer_to_server(self._service, target)
        peer_knowledge_pb2_grpc.add_PeerKnowledgeServicer_to_server(self._knowledge_service, target)
        health = self._health if is_private else HubHealth(self._health, authenticate, self._quotas, self._denied)
        health_pb2_grpc.add_HealthServicer_to_server(health, server)
        if is_private:
            reflection.enable_server_reflection((*SERVICES, HEALTH, reflection.SERVICE_NAME), server)
        self._servers.append(server)
        return wrapping

    async def _serve(self) -> None:
        listen = self._config.listen
        private = self._make_server(EVERYBODY, is_private=True)
        for entrance in self._entrances:
            made = private if entrance.is_private else self._make_server(entrance.authenticate, is_private=False)
            self.ports[entrance.key] = entrance.listen(made.server)
        if listen.http:
            self.http_port = await self._start_connect("listen.http", listen.http, private.handlers)
        if listen.http_tokens:
            for_tokens = self._make_server(ByToken(self._entrances.table), is_private=False).handlers
            key = "listen.http_tokens"
            self.ports[key] = await self._start_connect(key, listen.http_tokens, for_tokens, self._entrances.context())
        self._start_pages(self._config.metrics.address)
        for server in self._servers:
            await server.start()
        self._knowledge.start()
        await self._set_health(self._dispatcher.outbox.accepts)
        if self._replica:
            self._replica.watch(self._show_health, self._send_away)
        self._obstacle = ""
        self._log.info(
            "serving",
            socket=listen.socket,
            tcp=_with_port(listen.tcp, self.tcp_port),
            tls=_with_port(listen.tls, self.ports.get("listen.tls", 0)),
            tls_tokens=_with_port(listen.tls_tokens, self.ports.get("listen.tls_tokens", 0)),
            http=_with_port(listen.http, self.http_port),
            http_tokens=_with_port(listen.http_tokens, self.ports.get("listen.http_tokens", 0)),
            metrics=_with_port(self._config.metrics.address, self.metrics_port),
        )

    async def _start_connect(
        self, key: str, address: str, handlers: Mapping[str, Handler], context: ssl.SSLContext | None = None
    ) -> int:
        """Serve HTTP, with TLS and tokens where there is a context; returns the port. Raises StartError."""
        try:
            # Imported late: the packages of the extra are needed by this listener only.
            from gossipcontrol.server.connect_rpc.application import application
            from gossipcontrol.server.connect_rpc.guard import Guard
            from gossipcontrol.server.connect_rpc.listener import ConnectListener
        except ImportError as error:
            package = (error.name or "").partition(".")[0]
            raise StartError(f"{key} needs the package {package}: pip install 'gossipcontrol[http]'") from error
        calls = application(DESCRIPTORS, handlers, self._config.limits.message_bytes)
        allowed = origins(self._config.listen.http_origins)
        listener = ConnectListener(Guard(calls, allowed, self._log, has_tokens=context is not None))
        self._connects.append(listener)
        await listener.start(key, address, context)
        return listener.port

    async def _abandon(self) -> None:
        """Let go of everything after a start that failed."""
        await asyncio.to_thread(self._stop_pages)
        for listener in self._connects:
            await listener.stop(0)
        if self._is_open:
            await self._close()
        elif self._replica:
            await self._replica.let_go()

    async def _close(self) -> None:
        self._knowledge.close()
        self._sampler.close()
        await self._dispatcher.close()
        if self._replica:
            await self._replica.let_go()
        if self._traces:
            await asyncio.to_thread(self._traces.close)

    def _show_health(self) -> None:
        """Say over gRPC whether events can be kept, and by this replica."""
        is_sure = self._replica is None or self._replica.lease.is_sure()
        accepts = is_sure and self._outbox is not None and self._outbox.accepts
        task = asyncio.get_running_loop().create_task(self._set_health(accepts))
        self._health_changes.add(task)
        task.add_done_callback(self._health_changes.discard)

    async def _set_health(self, accepts: bool) -> None:
        status = health_pb2.HealthCheckResponse.SERVING if accepts else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *SERVICES):
            await self._health.set(name, status)

    def _start_pages(self, address: str) -> None:
        if not address:
            return
        host = address.rpartition(":")[0]
        pages = Pages(
            config=self._config, turns=self._turns, registry=self.metrics.registry, budget=self._dispatcher.core.memory,
            obstacle=self._find_obstacle, connections=self.connections,
            service=self._service, overview=self._overview, graph=self._graph,
            troubled=self._dispatcher.core.liveness.diagnosis.troubled_nodes, name=self._dispatcher.core.name,
            news=self._news, failed=lambda path, error: self._log.error("page failed", path=path, exc_info=error),
        )  # fmt: skip
        guard, context = self._page_access(host, self._denied)
        site = make_site(pages, asyncio.get_running_loop(), is_local=host in LOOPBACK, guard=guard)
        self._page_server = open_pages(address, site, context)
        self.metrics_port = self._page_server.port

    def _page_access(self, host: str, denied: OnDenied) -> tuple[PageGuard | None, ssl.SSLContext | None]:
        """Who may read the pages, and their TLS, where other hosts reach them; raises StartError."""
        access, loop = self._config.access, asyncio.get_running_loop()
        if host in LOOPBACK or not access.identities:
            return None, None

        def tell(path: str, client: str, identity: str, error: PermissionDenied | Unauthenticated) -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(denied, path, client, identity, error)

        context = self._entrances.context() if access.certificate else None
        return PageGuard(self._entrances.table, tell), context

    def _graph(self, store_id: str) -> NeighborGraph | None:
        return self._dispatcher.core.liveness.neighbor_graph(store_id, self._dispatcher.clock.now())

    def _overview(self) -> dict[str, Any]:
        """The fleet and the service in numbers, as the metrics have them."""
        core = self._dispatcher.core
        counts, liveness = core.counts(), core.liveness.counts()
        return {
            "version": version("gossipcontrol"),
            "uptime_seconds": time.monotonic() - self._started_at,
            "obstacle": self._find_obstacle(),
            "counts": asdict(counts),
            "peers": {state.name: count for state, count in liveness.peers.items()},
            "partitioned": liveness.partitioned,
            "pairs_unsynced": liveness.pairs_unsynced,
            "memory": {"used": core.memory.used(), "limit": core.memory.limit},
            "connections": self.connections(),
            "replicas": self._replica and {
                "epoch": self._replica.lease.epoch, "standbys": len(self._replica.roster.standbys()),
            },
        }  # fmt: skip

    def _find_obstacle(self) -> str:
        """What keeps the service from taking triggers; empty: nothing."""
        if self._loss:
            return self._loss
        if self._replica and (obstacle := self._replica.obstacle()):
            return self._obstacle or obstacle
        if self._obstacle or self._dispatcher.outbox.accepts:
            return self._obstacle
        return "the state cannot be written, so triggers are refused"

    def accounted_bytes(self) -> int:
        """The bytes for which the books account."""
        return self._dispatcher.core.memory.used()

    def connections(self) -> dict[str, int]:
        """What is open, by kind."""
        requests, streams = self._page_server.connections() if self._page_server else (0, 0)
        return {
            "agents_attached": self._agents.count,
            "presence_subscriptions": self._hub.count,
            "health_watches": self._health.count,
            "unregistered_streams": self._service.unregistered(),
            "queued_bytes": self._service.queued_bytes(),
            "accounts": self._turns.accounts,
            "http_requests": requests,
            "http_streams": streams,
        }

    def _stop_pages(self) -> None:
        if self._page_server is not None:
            self._page_server.close()


def open_traces(config: Traces) -> CallTraces | None:
    """The spans of calls, where the configuration names a collector; raises StartError."""
    if not config.endpoint:
        return None
    try:
        # Imported late: importing the packages of the extra takes half a second.
        from gossipcontrol.server.observe.traces import CallTraces
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        raise StartError(f"traces.endpoint needs the package {package}: pip install 'gossipcontrol[otel]'") from error
    return CallTraces(config)


def _with_port(address: str, port: int) -> str:
    return f"{address.rpartition(':')[0]}:{port}" if address else ""
