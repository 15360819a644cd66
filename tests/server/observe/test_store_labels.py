"""Labels of stores are recycled: what is gone is seen to end, and what comes next gets its place."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from gossipcontrol.client import Client, Intention, IntentionBatch
from gossipcontrol.server.config import Metrics
from gossipcontrol.server.observe.store_labels import StoreLabels
from prometheus_client.parser import text_string_to_metric_families

from tests.kit.service_lab import BareAgent, Service, config, connected, deciding, serving
from tests.kit.until import until

LIMIT = 5


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    settings = config(tmp_path, deciding=deciding())
    async with serving(replace(settings, metrics=Metrics(address="127.0.0.1:0", stores=LIMIT))) as running:
        yield running


async def labels(service: Service, metric: str) -> set[str]:
    """The stores with a series of their own."""
    page = await service.scrape()
    return {
        sample.labels["store"]
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == metric and sample.labels["store"] != "other"
    }


def test_a_store_that_is_empty_is_exported_once_more() -> None:
    full = {"a", "b"}
    chosen = StoreLabels(2, lambda store_id: store_id not in full)
    for store_id in ("a", "b", "c", "other"):
        chosen.add(store_id)
    assert chosen.export() == ["a", "b"]
    full.discard("a")
    assert chosen.export() == ["a", "b"], "its zeros are seen"
    assert chosen.export() == ["b"]
    full.add("c")
    chosen.add("c")
    assert chosen.export() == ["b", "c"]
    full.discard("c")
    chosen.export()
    full.add("c")
    assert chosen.export() == ["b", "c"], "what comes back keeps its label"
    assert "c" in chosen
    chosen.add("other")
    assert "other" not in chosen


async def test_a_new_store_gets_the_label_of_one_that_is_gone(service: Service) -> None:
    """digitalocean/ceph_exporter#102, kubernetes-sigs/metrics-server#1876, milvus-io/milvus#52682."""
    metric = "gossipcontrol_store_peers"
    old = [f"old{number}" for number in range(LIMIT + 2)]
    async with connected(service.address) as stub:
        agent = BareAgent(stub)
        await agent.register("n", *old)
        await agent.send(liveness={"store_id": old[0]})
        for store_id in old:
            await agent.send(liveness={"store_id": store_id})

        async def labelled() -> bool:
            return len(await labels(service, metric)) == LIMIT

        await until(labelled, "the first stores have labels")
        await agent.register("n", "keep")
        await agent.send(liveness={"store_id": "keep"})

        async def gone() -> bool:
            return not await labels(service, metric) & set(old)

        await until(gone, "the old stores have no series")
        await agent.register("n", "keep", "new")
        await agent.send(liveness={"store_id": "new"})
        await agent.send(liveness={"store_id": "keep"})

        async def relabelled() -> bool:
            return await labels(service, metric) >= {"new"}

        await until(relabelled, "the new store has a label")


async def test_knowledge_labels_at_most_as_many(service: Service) -> None:
    async with Client(service.address) as client:
        for number in range(LIMIT + 3):
            link = Intention(author_id="a", hash=b"h%d" % number)
            await client.knowledge.record([IntentionBatch(f"s{number}", (link,))])

    async def labelled() -> bool:
        return len(await labels(service, "gossipcontrol_knowledge_retained_intentions")) == LIMIT

    await until(labelled, "as many stores as the limit says have labels")
