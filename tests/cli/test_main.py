"""The command line: what it prints for people and for programs, and its exit codes."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from gossipcontrol.cli.main import COMMANDS, main
from gossipcontrol.cli.replicas_command import show_replicas
from gossipcontrol.client.replica import ReplicaList
from gossipcontrol.v1.attach_pb2 import NeighborEvent

from tests.kit.address import local_address
from tests.kit.clock_moves import clock_moves
from tests.kit.service_lab import BareAgent, Service, config, connected, deciding, rejoin, serving
from tests.kit.until import until


async def run(service: Service, *words: str) -> Result:
    """Run the command beside the service."""
    return await run_at(service.address, *words)


async def run_at(address: str, *words: str) -> Result:
    """Run the command beside whatever is at this address."""
    environ = {"GOSSIPCONTROL_ADDRESS": address}
    return await asyncio.to_thread(CliRunner().invoke, main, words, env=environ)


async def read(service: Service, *words: str) -> Any:
    result = await run(service, *words, "--json")
    assert result.exit_code == 0, result.output
    return listed(result.stdout)


def listed(text: str) -> Any:
    """A document; of a plain list only its items."""
    document = json.loads(text)
    assert (document.pop("version"), document.pop("ts") > 0) == (1, True)
    names = [name for name in ("stores", "peers", "rejoins", "decisions") if isinstance(document.get(name), list)]
    return document[names[0]] if names and "explanations" not in document else document


async def test_status_counts_what_there_is(service: Service) -> None:
    async with connected(service.address) as stub:
        agent = BareAgent(stub)
        await agent.register("n", "a", "b")
        await run(service, "rejoin", "--park", "away", "c")
        status = await read(service, "status")
        assert (status["serving"], status["stores"], status["nodes"], status["attached"]) == (True, 3, 2, 1)
        assert status["rejoins_last_hour"]["parked"] == 1
        text = await run(service, "status")
        assert text.exit_code == 0
        assert "is serving" in text.stdout
        assert "2, 1 of them attached" in text.stdout


@pytest.mark.not_on_windows(
    "parking so much of a stranger is for the Unix socket; over TCP a connection may name only so much"
)
async def test_status_says_when_there_is_more_than_it_counts(service: Service) -> None:
    async with connected(service.address) as stub:
        for number in range(103):
            await stub.Rejoin(rejoin(f"n{number:03}", "a"))
        status = await read(service, "status")
        assert (status["nodes"], status["nodes_complete"], status["rejoins_complete"]) == (103, True, True)
        await stub.Rejoin(rejoin("m", "b"))
        agent = BareAgent(stub)
        await agent.register("n102", "a")
        status = await read(service, "status")
        assert (status["nodes"], status["attached"], status["nodes_complete"]) == (103, 1, False)
        await stub.Rejoin(rejoin("m", *(f"s{number}" for number in range(1000))))
        status = await read(service, "status")
        assert (sum(status["rejoins_last_hour"].values()), status["rejoins_complete"]) == (1000, False)
        text = (await run(service, "status")).stdout
        assert "at least 103, at least 1 of them attached" in text
        assert "1000+, the newest: " in text


async def test_rejoin_shows_the_decisions(service: Service) -> None:
    [decision] = await read(service, "rejoin", "--park", "n", "a", "--cause", "suspicion")
    assert (decision["node_id"], decision["store_id"], decision["kind"]) == ("n", "a", "parked")
    table = (await run(service, "rejoin", "--park", "n", "a")).stdout
    assert table.split()[:5] == ["NODE", "STORE", "DECISION", "REJOIN", "WHY"]
    assert "starts as soon as an agent attaches" in table


async def test_waiting_for_a_rejoin_tells_by_exit_code_whether_it_worked(service: Service) -> None:
    async with connected(service.address) as stub:
        agent = BareAgent(stub)
        await agent.register("n", "a")
        waiting = asyncio.create_task(run(service, "rejoin", "--park", "n", "--wait", "10", "--json"))
        await agent.command()
        await clock_moves()
        await agent.send(neighbor=NeighborEvent(store_id="a", peer_id="p", up=True), commands_received=1)
        result = await waiting
        assert result.exit_code == 0
        assert listed(result.stdout)[0]["outcome"] == "verified"
    late = await run(service, "rejoin", "--park", "away", "a", "--wait", "0")
    assert late.exit_code == 1


async def test_waiting_for_a_store_that_is_not_rejoined_fails_and_says_why(service: Service) -> None:
    async with connected(service.address) as stub:
        agent = BareAgent(stub)
        await agent.register("n", "a")
        waiting = asyncio.create_task(run(service, "rejoin", "--park", "n", "a", "typo", "--wait", "10", "--json"))
        await agent.command()
        await clock_moves()
        await agent.send(neighbor=NeighborEvent(store_id="a", peer_id="p", up=True), commands_received=1)
        result = await waiting
        assert result.exit_code == 1
        rejoined, skipped = listed(result.stdout)
        assert (rejoined["store_id"], rejoined["outcome"]) == ("a", "verified")
        assert (skipped["store_id"], skipped["outcome"]) == ("typo", "skipped")
        alone = await run(service, "rejoin", "--park", "n", "typo", "--wait", "10")
        assert alone.exit_code == 1
        assert skipped["detail"] in alone.stdout


async def test_waiting_asks_for_no_rejoin_older_than_its_own(service: Service) -> None:
    await run(service, "rejoin", "--park", "n", *(f"s{number}" for number in range(150)))
    assert (await run(service, "rejoin", "--park", "n", "new", "--wait", "0")).exit_code == 1
    labels = {"rpc": "ListRejoins", "code": "OK"}

    def pages() -> float:
        return service.app.metrics.registry.get_sample_value("gossipcontrol_requests_total", labels) or 0.0

    await until(lambda: pages() > 0, "what was asked for is counted")
    assert pages() == 1


@pytest.mark.parametrize("kind", ["network-change", "resume", "sleep", "foreground"])
async def test_a_change_is_reported_for_a_host_or_for_nodes(service: Service, kind: str) -> None:
    for where in (("--host-id", "h"), ("--node", "n", "--node", "m", "--park")):
        decisions = await read(service, "report", kind, *where, "--detail", "wlan0 up")
        assert len(decisions) == (0 if kind == "sleep" else where.count("--node") or 1)


async def test_one_service_says_that_it_has_no_replicas(service: Service) -> None:
    assert (await run(service, "replicas")).stdout == "one service, state in memory only: no replicas\n"
    assert await read(service, "replicas") == {"replicas": [], "backend": "memory", "path": ""}
    shown = ReplicaList((), "sqlite", "/var/lib/gossipcontrol/state.db")
    with CliRunner().isolation() as (output, *_):
        show_replicas(shown)
    assert output.getvalue().decode().replace("\n", " ").strip() == (
        "one service, state in /var/lib/gossipcontrol/state.db: no replicas"
    )


async def test_stores_and_rejoins_are_listed(service: Service) -> None:
    await run(service, "rejoin", "--park", "n", "a", "b")
    await run(service, "rejoin", "--park", "m", "a", "--cause", "isolated")
    assert [one["store_id"] for one in await read(service, "stores")] == ["a", "b"]
    assert [one["store_id"] for one in await read(service, "stores", "--node", "m")] == ["a"]
    assert len(await read(service, "rejoins")) == 3
    assert [one["node_id"] for one in await read(service, "rejoins", "--cause", "isolated")] == ["m"]
    filters = ("--node", "n", "--store", "b", "--outcome", "parked", "--since", "60", "--limit", "1")
    assert [one["store_id"] for one in await read(service, "rejoins", *filters)] == ["b"]
    table = (await run(service, "rejoins", "-v")).stdout
    assert "parked: no agent of the node is attached" in table
    assert "never" in (await run(service, "stores")).stdout


async def test_a_host_is_explained_with_every_cause_that_it_has(service: Service) -> None:
    for words, cause in (((), "network-change"), (("--cause", "resume"), "resume")):
        document = await read(service, "explain", "--host-id", "h", *words)
        assert [one["cause"] for one in document["explanations"]] == [cause]


async def test_ids_with_brackets_are_shown_as_they_are(service: Service) -> None:
    await run(service, "rejoin", "--park", "[/red]", "[bold]a")
    assert "[/red] [bold]a" in " ".join((await run(service, "rejoins")).stdout.split())


async def test_empty_lists_say_so(service: Service) -> None:
    assert (await run(service, "stores")).stdout == "no stores yet: no agent has attached\n"
    assert (await run(service, "rejoins")).stdout == "no rejoins\n"
    assert await read(service, "stores") == await read(service, "rejoins") == []


async def test_a_refusal_fails_with_one_line(service: Service) -> None:
    result = await run(service, "rejoin", "x" * 129)
    assert result.exit_code == 1
    assert result.stderr == "gossipcontrol: node_id: must be at most 128 bytes, is 129\n"


@pytest.mark.parametrize(
    "words",
    [
        ["rejoin"],
        ["rejoin", "n", "--cause", "boredom"],
        ["rejoin", "n", "--cause", "resume"],
        ["rejoin", "n", "--cause", "network-change"],
        ["rejoin", "n", "--cause", "app-foreground"],
        ["rejoin", "n", "--cause", "partition"],
        ["explain", "n", "--cause", "outbound-rot"],
        ["explain", "--host-id", "h", "--cause", "suspicion"],
        ["explain", "--host-id", "h", "--cause", "manual"],
        ["rejoins", "--since", "-1"],
        ["rejoins", "--limit", "0"],
        ["unknown"],
        ["status", "--address", "nonsense"],
    ],
    ids=" ".join,
)
def test_a_usage_error_exits_with_two(words: list[str]) -> None:
    assert CliRunner().invoke(main, words).exit_code == 2


async def test_an_unreachable_service_exits_with_three(tmp_path: Path) -> None:
    address = local_address(tmp_path / "none.sock")
    result = await asyncio.to_thread(CliRunner().invoke, main, ["stores", "--address", address])
    assert result.exit_code == 3
    assert result.stderr.startswith(f"gossipcontrol: no service at {address}: ")
    assert result.stderr.count("\n") == 1


async def test_a_full_service_fails(tmp_path: Path) -> None:
    async with serving(config(tmp_path, deciding=deciding(queue_limit=1, rate=10.0))) as service:
        assert (await run(service, "rejoin", "--park", "n", "a")).exit_code == 0
        result = await run(service, "rejoin", "--park", "m", "a")
        assert result.exit_code == 1
        assert "the queue of rejoins is full; try again in 600 s" in result.stderr, "when the parked one expires"


def test_every_command_is_listed_and_can_be_imported() -> None:
    shown_list = CliRunner().invoke(main, ["--help"]).stdout
    for name, (_, line) in COMMANDS.items():
        assert f"  {name} " in shown_list
        assert line.split()[0] in shown_list
        shown = CliRunner().invoke(main, [name, "--help"])
        assert shown.exit_code == 0
        # The list says in its own words what the command's own help begins with.
        assert shown.stdout.split("\n\n")[1].split()[0] == line.split()[0]


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gossipcontrol.cli.iroh_command", None)
    result = CliRunner().invoke(main, ["agent", "iroh"])
    assert result.exit_code == 2
    assert "pip install 'gossipcontrol[iroh]'" in result.stderr
    result = CliRunner().invoke(main, ["agent", "iroh", "--store", "notes"])
    assert (result.exit_code, result.stderr.count("pip install")) == (2, 1)
    for words in (["agent", "--help"], ["agent", "iroh", "--help"]):
        assert CliRunner().invoke(main, words).exit_code == 0
