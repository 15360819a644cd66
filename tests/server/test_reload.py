"""What a reload takes over, key by key."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import grpc
import pytest
from gossipcontrol.server.config import Config, Limits, Log, Retry
from gossipcontrol.server.reload import LIVE, changes, with_changes
from gossipcontrol.server.runtime.retry import RetryRule
from gossipcontrol.v1 import gossip_control_pb2

from tests.kit.service_lab import config, connected, refusal, serving


def test_only_keys_that_exist_can_change() -> None:
    known = {f"{one.name}.{key.name}" for one in fields(Config) for key in fields(getattr(Config(), one.name))}
    assert known >= LIVE


def test_each_changed_key_is_found_and_can_be_taken_over_alone() -> None:
    old = Config()
    new = replace(old, log=Log(level="debug"), limits=Limits(watchers=7, message_bytes=1000))
    found = changes(old, new)
    assert [one.key for one in found] == ["log.level", "limits.message_bytes", "limits.watchers"]
    taken = with_changes(old, [one for one in found if one.key in LIVE])
    assert taken.log.level == "debug"
    assert (taken.limits.watchers, taken.limits.message_bytes) == (7, old.limits.message_bytes)


def test_the_rule_of_retries_follows() -> None:
    rule = RetryRule(Retry(attempts=5))
    assert rule.wait(2) is not None
    rule.configure(Retry(attempts=2))
    assert rule.wait(2) is None


async def test_the_limit_of_watchers_follows(tmp_path: Path) -> None:
    settings = config(tmp_path)
    async with serving(settings) as service, connected(service.address) as stub:
        service.app.apply(replace(settings, limits=replace(settings.limits, watchers=1)))
        first = stub.WatchPeers(gossip_control_pb2.WatchPeersRequest(store_id="a"))
        await first.read()
        second = stub.WatchPeers(gossip_control_pb2.WatchPeersRequest(store_id="a"))

        async def read() -> object:
            return await second.read()

        error = await refusal(read())
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        first.cancel()


@pytest.mark.parametrize("level", ["debug", "info"])
async def test_the_level_of_the_log_follows(tmp_path: Path, level: str) -> None:
    settings = config(tmp_path)
    async with serving(settings) as service, connected(service.address) as stub:
        service.app.apply(replace(settings, log=Log(format="json", level=level)))
        await stub.ListStores(gossip_control_pb2.ListStoresRequest())
        assert len(service.lines("call")) == (1 if level == "debug" else 0)
