"""The limit of descriptors is the hard one, and too few of them for the configuration are a line of the log."""

from __future__ import annotations

import io
import json
import re
import resource
from dataclasses import replace
from pathlib import Path

import pytest
from gossipcontrol.server.config import Config, Limits, Log
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.descriptors import OWN, check_descriptors
from gossipcontrol.server.observe.log import Logger

from tests.kit.service_process import service_process
from tests.kit.until import until


def warnings(monkeypatch: pytest.MonkeyPatch, hard: int, config: Config) -> list[dict[str, object]]:
    """What is logged where the hard limit is this."""

    def getrlimit(which: int) -> tuple[int, int]:
        del which
        return min(hard, 1024), hard

    def setrlimit(which: int, limits: tuple[int, int]) -> None:
        del which, limits

    monkeypatch.setattr(resource, "getrlimit", getrlimit)
    monkeypatch.setattr(resource, "setrlimit", setrlimit)
    output = io.StringIO()
    log = Logger(Log(format="json"), output)
    check_descriptors(config, log)
    log.close()
    return [json.loads(line) for line in output.getvalue().splitlines()]


def test_limits_that_fit_are_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(Config(), deciding=Parameters(node_limit=1000), limits=Limits(watchers=50))
    assert warnings(monkeypatch, 1050 + OWN, config) == []
    assert warnings(monkeypatch, resource.RLIM_INFINITY, config) == []


def test_limits_that_do_not_fit_are_logged_with_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(Config(), deciding=Parameters(node_limit=1000), limits=Limits(watchers=50))
    [line] = warnings(monkeypatch, 1049 + OWN, config)
    assert (line["event"], line["limit"], line["needed"]) == ("few descriptors", 1049 + OWN, 1050 + OWN)
    assert line["sum"] == f"1000 nodes + 50 watchers + {OWN} of its own"


async def test_the_service_takes_all_descriptors_that_it_may_have(tmp_path: Path) -> None:
    """With systemd's soft limit of 1,024, 1,000 agents were the end of a hub."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        async with service_process(tmp_path / "gc.sock") as service:
            file = Path(f"/proc/{service.process.pid}/limits")

            def taken() -> bool:
                found = re.search(r"Max open files +(\d+) +(\d+)", file.read_text(encoding="ascii"))
                return found is not None and found.group(1) == found.group(2) == str(hard)

            await until(taken, "its soft limit is the hard one")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
