"""The metrics: names, labels and values as the contract says, in the eyes of promtool and of a real Prometheus."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

import pytest
from gossipcontrol.server.config import Metrics
from gossipcontrol.v1 import gossip_control_pb2_grpc
from gossipcontrol.v1.attach_pb2 import NeighborEvent
from gossipcontrol.v1.gossip_control_pb2 import (
    NETWORK_CHANGE_KIND_CHANGED,
    PLATFORM_LINUX,
    ListRejoinsRequest,
    ReportNetworkChangeRequest,
)
from prometheus_client.parser import text_string_to_metric_families

from tests.kit.http import fetch
from tests.kit.ports import free_ports
from tests.kit.service_lab import BareAgent, Service, channel_to, config, deciding, new_id, refusal, rejoin, serving
from tests.kit.until import until

Stub: TypeAlias = "gossip_control_pb2_grpc.GossipControlAsyncStub"
CONTRACT = {
    "gossipcontrol_triggers_total": {"cause", "decision"},
    "gossipcontrol_rejoins_total": {"cause", "outcome"},
    "gossipcontrol_rejoin_start_delay_seconds_bucket": {"le"},
    "gossipcontrol_rejoin_duration_seconds_bucket": {"le"},
    "gossipcontrol_rejoin_queue_length": set[str](),
    "gossipcontrol_rejoins_parked": set[str](),
    "gossipcontrol_escalations_total": {"rung"},
    "gossipcontrol_restart_commands_total": {"outcome"},
    "gossipcontrol_network_changes_total": {"platform", "kind"},
    "gossipcontrol_agents_attached": set[str](),
    "gossipcontrol_peers": {"state"},
    "gossipcontrol_store_peers": {"store", "state"},
    "gossipcontrol_peer_staleness_seconds_bucket": {"le"},
    "gossipcontrol_partitions": {"store"},
    "gossipcontrol_rot_detected_total": {"kind"},
    "gossipcontrol_pairs_unsynced": set[str](),
    "gossipcontrol_requests_total": {"rpc", "code"},
    "gossipcontrol_request_duration_seconds_bucket": {"rpc", "code", "le"},
    "gossipcontrol_build_info": {"version", "grpcio", "python"},
}


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    settings = config(tmp_path, deciding=deciding())
    async with serving(replace(settings, metrics=Metrics(address="127.0.0.1:0"))) as running:
        yield running


async def work(service: Service, stub: Stub) -> BareAgent:
    """One verified rejoin, one scheduled, one parked, one skipped, one duplicate, one mistake."""
    agent = BareAgent(stub)
    await agent.register("n", "a", host_id="h")
    await stub.Rejoin(rejoin("n"))
    await agent.command()
    await agent.send(neighbor=NeighborEvent(store_id="a", peer_id="p", up=True), commands_received=1)
    await until(lambda: bool(service.lines("rejoin verified")), "the rejoin is verified")
    request_id = new_id()
    for _ in range(2):
        await stub.Rejoin(rejoin("away", "a", request_id=request_id))
    await stub.Rejoin(rejoin("n", "unknown"))
    for _ in range(2):
        await stub.ReportNetworkChange(
            ReportNetworkChangeRequest(
                host_id="h", kind=NETWORK_CHANGE_KIND_CHANGED, boot_id="b", generation=1, platform=PLATFORM_LINUX
            )
        )
    await refusal(stub.Rejoin(rejoin("")))
    return agent


WANTED = {
    'gossipcontrol_triggers_total{cause="manual",decision="started"}': 1,
    'gossipcontrol_triggers_total{cause="manual",decision="parked"}': 1,
    'gossipcontrol_triggers_total{cause="manual",decision="skipped"}': 1,
    'gossipcontrol_triggers_total{cause="network_change",decision="scheduled"}': 1,
    'gossipcontrol_triggers_total{cause="network_change",decision="duplicate"}': 1,
    'gossipcontrol_rejoins_total{cause="manual",outcome="verified"}': 1,
    'gossipcontrol_network_changes_total{platform="linux",kind="changed"}': 2,
    'gossipcontrol_requests_total{rpc="Rejoin",code="OK"}': 4,
    'gossipcontrol_requests_total{rpc="Rejoin",code="INVALID_ARGUMENT"}': 1,
    'gossipcontrol_requests_total{rpc="ReportNetworkChange",code="OK"}': 2,
    'gossipcontrol_request_duration_seconds_count{rpc="Rejoin",code="OK"}': 4,
    'gossipcontrol_request_duration_seconds_count{rpc="Rejoin",code="INVALID_ARGUMENT"}': 1,
    "gossipcontrol_rejoin_start_delay_seconds_count": 1,
    "gossipcontrol_rejoin_duration_seconds_count": 1,
    "gossipcontrol_rejoin_queue_length": 1,
    "gossipcontrol_rejoins_parked": 1,
    "gossipcontrol_agents_attached": 1,
    'gossipcontrol_escalations_total{rung="rebind"}': 0,
}


def samples(page: str) -> dict[str, dict[frozenset[tuple[str, str]], float]]:
    found: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return found


def value(page: str, series: str) -> float:
    name, _, labels = series.rstrip("}").partition("{")
    pairs = [one.partition("=") for one in labels.split(",") if one]
    return samples(page)[name][frozenset((key, text.strip('"')) for key, _, text in pairs)]


async def test_names_and_labels_are_those_of_the_contract(service: Service, stub: Stub) -> None:
    await work(service, stub)
    found = samples(await service.scrape())
    for name, labels in CONTRACT.items():
        assert {key for series in found[name] for key, _ in series} == labels, name


async def test_values_are_what_happened(service: Service, stub: Stub) -> None:
    agent = await work(service, stub)
    page = await service.scrape()
    assert {series: value(page, series) for series in WANTED} == WANTED
    agent.call.cancel()
    cancelled = 'gossipcontrol_requests_total{rpc="Attach",code="CANCELLED"}'

    async def counted() -> bool:
        return value(await service.scrape(), cancelled) == 1

    await until(counted, "the stream that was given up is counted")


async def test_strangers_add_no_series(service: Service, stub: Stub) -> None:
    await stub.Rejoin(rejoin("n", "a"))
    await stub.ListRejoins(ListRejoinsRequest())

    async def count() -> int:
        return sum(len(series) for series in samples(await service.scrape()).values())

    before = await count()
    for number in range(50):
        await stub.Rejoin(rejoin(f"stranger-{number}", f"store-{number}", request_id=new_id()))
    import grpc

    async with channel_to(service.tcp) as opened:
        channel: Any = opened
        for name in ("gossipcontrol.v1.GossipControl/Nothing", "other.Service/Call"):
            assert (await refusal(channel.unary_unary(f"/{name}")(b""))).code() is grpc.StatusCode.UNIMPLEMENTED
    assert await count() == before


async def test_promtool_finds_nothing_to_complain_about(service: Service, stub: Stub) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is missing: install the Debian package prometheus")
    await work(service, stub)
    page = await service.scrape()
    checked = await asyncio.to_thread(
        subprocess.run, [promtool, "check", "metrics"], input=page, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def ask(port: int, expression: str) -> list[dict[str, Any]]:
    page = fetch(f"http://127.0.0.1:{port}/api/v1/query?query={quote(expression)}", 5)
    result: list[dict[str, Any]] = json.loads(page)["data"]["result"]
    return result


async def test_a_real_prometheus_scrapes_the_values(service: Service, stub: Stub, tmp_path: Path) -> None:
    prometheus = shutil.which("prometheus")
    if prometheus is None:
        pytest.skip("prometheus is missing: install the Debian package prometheus")
    agent = await work(service, stub)
    [port] = free_ports(1)
    path = tmp_path / "prometheus.yml"
    path.write_text(
        f"""global: {{scrape_interval: 500ms}}
scrape_configs:
  - job_name: gossipcontrol
    static_configs: [{{targets: ["127.0.0.1:{service.app.metrics_port}"]}}]
"""
    )
    process = await asyncio.create_subprocess_exec(
        prometheus, f"--config.file={path}", f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:

        async def scraped() -> bool:
            assert process.returncode is None, "prometheus ended"
            try:
                return [one["value"][1] for one in await asyncio.to_thread(ask, port, "up")] == ["1"]
            except OSError:
                return False

        await until(scraped, "prometheus has scraped the service", within=120.0)
        told: dict[str, float] = {}
        for series in WANTED:
            [one] = await asyncio.to_thread(ask, port, series)
            told[series] = float(one["value"][1])
        assert told == WANTED
        assert agent.call.done() is False
    finally:
        process.terminate()
        await process.wait()
