"""``--json``: one shape for every command, and exactly the fields that docs/json.md names."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import click
import pytest
from click.testing import CliRunner
from gossipcontrol.cli.document import plain
from gossipcontrol.cli.main import main
from gossipcontrol.client import Client, LivenessReport, PeerObservation
from gossipcontrol.v1 import liveness_pb2
from gossipcontrol.v1.gossip_control_pb2 import ListReplicasResponse, Replica, Store, StoreNode

from tests.kit.intentions import batch, chain
from tests.kit.markdown import TOP
from tests.kit.service_lab import BareAgent, Service, config, connected, deciding, serving

DOCUMENT = Path("docs/json.md")
COMMANDS = {
    "status": ("status",),
    "doctor": ("doctor", "--wait", "0", "--metrics", "127.0.0.1:1"),
    "stores": ("stores",),
    "peers": ("peers", "s"),
    "rejoin": ("rejoin", "n", "s"),
    "rejoins": ("rejoins",),
    "explain": ("explain", "--rejoin", "1"),
    "report": ("report", "network-change", "--node", "n"),
    "knowledge": ("knowledge", "s"),
    "members": ("members", "remove", "s", "raspi"),
    "cancel": ("cancel", "2"),
    "forget": ("forget", "--node", "gone"),
    "top": ("top", "--count", "1"),
    "simulate": ("simulate", "examples/simulation/wifi-outage.toml", "--seeds", "1"),
}
"""Each command with which this service answers something in every list; those that run on are in ``EVENTS``."""
EVENTS = {"watch", "agent"}
MESSAGES = {"replicas": ListReplicasResponse(replicas=[Replica()])}
"""What commands print of a service that is not here."""


def test_milliseconds_are_seconds_and_nothing_is_left_out() -> None:
    found = plain(Store(store_id="s", nodes=[StoreNode(node_id="n", report_age_ms=1738)]))
    assert found["nodes"] == [
        {"node_id": "n", "host_id": "", "attached": False, "neighbors": 0, "report_age_seconds": 1.738, "name": ""}
    ]
    assert (found["rejoin_age_seconds"], found["partitioned"], found["peer_counts"]) == (None, False, [])


def test_a_value_of_a_newer_service_is_its_number() -> None:
    assert plain(liveness_pb2.PeerView(peer_id="p", state=99))["state"] == "unrecognized-99"  # type: ignore[arg-type]


def paths(value: object, above: str = "") -> Iterator[str]:
    """Every field, with ``[]`` after a list."""
    if isinstance(value, dict):
        for name, inner in cast("dict[str, object]", value).items():
            yield from paths(inner, f"{above}.{name}" if above else name)
    elif isinstance(value, list) and value and isinstance(value[0], dict | list):
        for inner in cast("list[object]", value):
            yield from paths(inner, f"{above}[]")
    else:
        yield above


def fields(document: Any) -> set[str]:
    """The innermost fields: one that is absent (null) in one item is an object in another."""
    found = set(paths(document))
    return {path for path in found if not any(other.startswith(f"{path}.") for other in found)}


def documented() -> dict[str, set[str]]:
    """The fields of each command in the document."""
    parts = re.split(r"^### `(\w+)`$", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {
        name: set(re.findall(r"^- `([^`]+)`", text, re.MULTILINE)) | {"version", "ts"}
        for name, text in zip(parts[1::2], parts[2::2], strict=True)
    }


async def populate(service: Service, agent: BareAgent) -> None:
    await agent.register("n", "s", host_id="h")
    async with Client(service.address) as client:
        heard = (PeerObservation("p", heard_age=0.5),)
        await client.peer_liveness([LivenessReport(node_id="n", store_id="s", peers=heard)])
        await client.knowledge.record([batch(*chain("alice", 3)), batch(*chain("raspi", 1, b"alice0"))])
        await client.rejoin("n", ["s"])
        await client.rejoin("gone", ["s"], park=True)


@pytest.mark.not_on_windows("the doctor sees less of a host there; the fields of its rows are the same")
async def test_every_command_gives_the_fields_that_are_documented(tmp_path: Path) -> None:
    settings = config(tmp_path, deciding=deciding(window=30.0, verify_timeout=30.0))
    async with serving(settings) as service, connected(service.address) as stub:
        await populate(service, BareAgent(stub))
        found: dict[str, set[str]] = {}
        for name, words in COMMANDS.items():
            done = await asyncio.to_thread(_run, service, *words)
            document = json.loads(done)
            assert document["version"] == 1
            assert abs(document["ts"] - time.time()) < 60
            assert "_ms" not in done
            assert not re.search(r'"[A-Z]+_[A-Z_]+"', done), "words, not names of the protocol"
            found[name] = fields(document)
            assert all(re.fullmatch(r"[a-z0-9_.\[\]-]+", path) for path in found[name])
        assert found == {name: documented()[name] for name in COMMANDS}


@pytest.mark.parametrize("name", MESSAGES)
def test_the_fields_of_a_message_are_documented(name: str) -> None:
    assert fields({"version": 1, "ts": 0.0, **plain(MESSAGES[name])}) == documented()[name]


def _run(service: Service, *words: str) -> str:
    if words[0] == "simulate":
        return CliRunner().invoke(main, [words[0], str(TOP / words[1]), *words[2:], "--json"]).stdout
    if words[0] == "top":
        line = [sys.executable, "-m", "gossipcontrol.cli", *words, "--json", "--address", service.address]
        return subprocess.run(line, capture_output=True, text=True, check=True).stdout
    return CliRunner().invoke(main, [*words, "--json", "--address", service.address]).stdout


@pytest.mark.parametrize("name", sorted(main.list_commands(click.Context(main))))
def test_every_command_has_its_fields_documented(name: str) -> None:
    assert name in COMMANDS.keys() | EVENTS | MESSAGES.keys()
    assert name in documented()
