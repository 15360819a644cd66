"""Ids by a beginning that only one known id has, and errors that name what is known."""

from __future__ import annotations

import pytest
from gossipcontrol.cli.identifier import AmbiguousError, match
from gossipcontrol.v1 import liveness_pb2

from tests.cli.test_main import read, run
from tests.kit.hostile_text import HOSTILE, raw_characters
from tests.kit.service_lab import BareAgent, Service, connected

FIRST, SECOND, THIRD = "3658937da4a9" + "1" * 52, "3658937da4a9" + "2" * 52, "ad4e243bf88d" + "3" * 52


@pytest.mark.parametrize(
    ("typed", "found"),
    [("ad4e", THIRD), ("ad4e243bf88d…", THIRD), (FIRST, FIRST), ("zzz", None), ("…", None), ("", None)],
)
def test_a_beginning_means_the_one_id_that_has_it(typed: str, found: str | None) -> None:
    assert match("node", typed, [FIRST, SECOND, THIRD]) == found


def test_an_id_that_is_known_whole_is_meant_itself() -> None:
    assert match("rejoin", "b9e08739-1", ["b9e08739-12", "b9e08739-1"]) == "b9e08739-1"


def test_a_pasted_id_with_control_characters_is_found_by_what_was_shown() -> None:
    assert match("node", "a\\nb", ["a\nbc"]) == "a\nbc"


def test_an_ambiguous_beginning_names_the_candidates() -> None:
    with pytest.raises(AmbiguousError, match=f"node 3658 is ambiguous: {FIRST}, {SECOND} begin so"):
        match("node", "3658", [FIRST, SECOND, THIRD])
    with pytest.raises(AmbiguousError, match="and 3 more"):
        match("node", "n", [f"n{number}" for number in range(8)])


NAMES = {FIRST: "kitchen laptop", SECOND: "hall", THIRD: "hall"}


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("kitchen laptop", FIRST), ("kitch", FIRST), ("kitchen lap…", FIRST), ("kitchen laptop (3658937da4a9…)", FIRST),
        ("kitchen laptop (36…", FIRST), ("hall (ad4e243bf88d…)", THIRD), ("ad4e", THIRD), ("cellar", None),
    ],
)  # fmt: skip
def test_a_node_is_meant_by_its_name_and_by_what_tables_show_of_both(typed: str, found: str | None) -> None:
    assert match("node", typed, NAMES, NAMES) == found


def test_a_name_that_two_nodes_have_is_ambiguous_and_a_whole_id_is_meant_before_a_name() -> None:
    with pytest.raises(AmbiguousError, match=rf"hall is ambiguous: hall \({SECOND}\), hall \({THIRD}\) have this name"):
        match("node", "hall", NAMES, NAMES)
    with pytest.raises(AmbiguousError, match="begin so; type more of it"):
        match("node", "hal", NAMES, NAMES)
    assert match("node", "hall", [*NAMES, "hall"], NAMES) == "hall"


async def attach(service: Service, stub: object, *node_ids: str) -> list[BareAgent]:
    agents = [BareAgent(stub) for _ in node_ids]  # type: ignore[arg-type]
    for agent, node_id in zip(agents, node_ids, strict=True):
        await agent.register(node_id, "notes-of-the-family", host_id="h")
        await agent.send(liveness=liveness_pb2.LivenessReport(store_id="notes-of-the-family"))
        await agent.receive("ack")
    return agents


async def test_every_command_takes_the_beginning_of_an_id(service: Service) -> None:
    async with connected(service.address) as stub:
        await attach(service, stub, FIRST, SECOND, THIRD)
        shown = (await run(service, "stores")).stdout
        cut = next(word for line in shown.splitlines() for word in line.split() if word.startswith("ad4e"))
        assert cut.endswith("…")
        [decision] = await read(service, "rejoin", cut, "notes")
        assert (decision["node_id"], decision["store_id"]) == (THIRD, "notes-of-the-family")
        rejoin_id = decision["rejoin_id"]
        number = rejoin_id.rpartition("-")[2]
        assert [one["rejoin_id"] for one in await read(service, "rejoins", "--node", "ad4", "--store", "no")]
        assert [one["rejoin_id"] for one in (await read(service, "explain", "--rejoin", number))["rejoins"]] == [
            rejoin_id
        ]
        assert (await run(service, "peers", "note")).stdout.count("online") == 3
        assert (await run(service, "stores", "--node", "ad4")).exit_code == 0
        assert len(await read(service, "report", "network-change", "--node", "ad4")) == 1
        for words in (("rejoin", "3658", "notes"), ("stores", "--node", "3658"), ("forget", "--node", "3658…")):
            refused = await run(service, *words)
            assert refused.exit_code == 1
            assert f"is ambiguous: {FIRST}, {SECOND} begin so; type more of it" in refused.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("rejoin", "nosuch", "notes"), ("rejoin", "nosuch…"), ("rejoin", "--park", "nosuch…"), ("peers", "nosuch"),
        ("stores", "--node", "nosuch"), ("report", "resume", "--node", "nosuch"), ("forget", "--node", "nosuch"),
        ("cancel", "nosuch"), ("knowledge", "nosuch"), ("members", "add", "notes", "nosuch…"),
    ],
    ids=" ".join,
)  # fmt: skip
async def test_an_unknown_id_is_refused_and_leaves_nothing_behind(service: Service, words: tuple[str, ...]) -> None:
    refused = await run(service, *words)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr.startswith("gossipcontrol: ")
    assert "nosuch" in refused.stderr
    assert "NOT_FOUND" not in refused.stderr
    assert await read(service, "stores") == []
    assert await read(service, "rejoins") == []


async def test_a_store_of_the_node_is_meant_before_one_of_others(service: Service) -> None:
    async with connected(service.address) as stub:
        one, other = BareAgent(stub), BareAgent(stub)
        await one.register("one", "notes")
        await other.register("other", "news")
        [decision] = await read(service, "rejoin", "one", "n")
        assert decision["store_id"] == "notes"


async def test_members_are_added_by_whole_ids_and_removed_by_a_beginning(service: Service) -> None:
    added = await read(service, "members", "add", "notes", "laptop", "raspi")
    assert (added["store_id"], added["peer_ids"]) == ("notes", ["laptop", "raspi"])
    assert (await read(service, "members", "remove", "notes", "ras"))["peer_ids"] == ["raspi"]
    assert (await run(service, "members", "remove", "notes", "nosuch…")).exit_code == 1


async def test_a_store_without_intentions_is_no_unknown_store(service: Service) -> None:
    async with connected(service.address) as stub:
        await attach(service, stub, THIRD)
        told = [await run(service, "knowledge", store) for store in ("notes", "elsewhere")]
        assert [one.exit_code for one in told] == [0, 1]
        assert "no intention of store notes-of-the-family was recorded yet" in told[0].stdout


async def test_the_name_of_a_node_works_wherever_an_id_is_typed_and_is_shown_beside_it(service: Service) -> None:
    async with connected(service.address) as stub:
        agents = [BareAgent(stub) for _ in range(3)]
        for agent, (node_id, name) in zip(agents, NAMES.items(), strict=True):
            await agent.register(node_id, "notes", name=name)
        label = "kitchen laptop (3658937da4a9…)"
        for words in (("stores",), ("peers", "notes"), ("rejoin", label, "notes"), ("explain", "kitchen laptop"),
                      ("rejoins", "--node", "kitch"), ("report", "network-change", "--node", "kitchen laptop"),
                      ("stores", "--node", "kitchen laptop")):  # fmt: skip
            assert label in (await run(service, *words)).stdout, words
        assert [one["name"] for one in await read(service, "peers", "notes")] == list(NAMES.values())
        assert {one["node_name"] for one in await read(service, "rejoins")} == {"kitchen laptop"}
        added = await read(service, "members", "add", "notes", "kitchen laptop", "raspi")
        assert added["peer_ids"] == [FIRST, "raspi"]
        assert (await read(service, "members", "remove", "notes", "kitchen laptop"))["peer_ids"] == [FIRST]
        refused = await run(service, "rejoin", "hall", "notes")
        assert (refused.exit_code, f"hall ({SECOND}), hall ({THIRD}) have this name" in refused.stderr) == (1, True)


async def test_a_hostile_name_is_escaped(service: Service) -> None:
    async with connected(service.address) as stub:
        agents = [BareAgent(stub) for _ in HOSTILE]
        for number, (agent, text) in enumerate(zip(agents, HOSTILE.values(), strict=True)):
            await agent.register(f"n{number}", "notes", name=text[:16])
        for words in (("stores",), ("peers", "notes"), ("rejoin", "n1", "notes"), ("explain", "n2"), ("rejoins",),
                      ("status",), ("stores", "--json")):  # fmt: skip
            assert raw_characters((await run(service, *words)).output) == set(), words
        cut = HOSTILE["tab"].replace("\t", "\\t")
        assert (await read(service, "rejoin", cut, "notes"))[0]["node_name"] == HOSTILE["tab"]
