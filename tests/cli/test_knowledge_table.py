"""The command ``gossipcontrol knowledge`` against a real service."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from gossipcontrol.cli.knowledge_table import age, sentence
from gossipcontrol.client import AuthorLag, Client, PeerKnowledge, PeerLag

from tests.kit.address import local_address
from tests.kit.intentions import batch, chain, serving_in_memory


@pytest.fixture
async def socket(tmp_path: Path) -> AsyncIterator[Path]:
    path = tmp_path / "s.sock"
    async with serving_in_memory(path):
        yield path


async def run(socket: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit code, output and errors of the command."""
    command = [sys.executable, "-m", "gossipcontrol.cli", *arguments, "--address", local_address(socket)]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    return process.returncode or 0, output.decode(), errors.decode()


async def test_the_command_prints_the_matrix_and_sentences(socket: Path) -> None:
    async with Client(local_address(socket)) as client:
        await client.knowledge.record([batch(*chain("alice", 3)), batch(*chain("raspi", 1, b"alice0"))])
    code, output, errors = await run(socket, "knowledge", "s")
    assert (code, errors) == (0, "")
    lines = [line.split() for line in output.splitlines()]
    assert lines[:4] == [
        ["PEER", "alice", "raspi"],
        ["alice", "3", "-"],
        ["raspi", "1", "1"],
        ["all", "active", "1", "-"],
    ]
    assert "raspi: 2 behind alice, last proof" in output
    assert "3 intentions not yet held by all, 3 intentions at risk" in output
    code, output, _ = await run(socket, "members", "remove", "s", "ras", "--now")
    assert (code, output.strip()) == (0, "removed from s: raspi; 1 active members")
    code, output, _ = await run(socket, "knowledge", "s", "--holds", b"alice0".hex(), "--json")
    shown = json.loads(output)
    assert code == 0
    assert [(row["peer_id"], row["active"]) for row in shown["peers"]] == [("alice", True), ("raspi", False)]
    assert shown["frontier"] == [{"author_id": "alice", "position": 3, "hash": b"alice2".hex(), "incarnation": ""}]
    code, output, _ = await run(socket, "members", "undo", "s")
    assert (code, output.startswith("as before in s: raspi; 2 active members")) == (0, True)
    assert "others may have pruned by it" in " ".join(output.split())
    assert (await run(socket, "members", "remove", "s", "ras"))[0] == 0
    code, output, _ = await run(socket, "members", "undo", "s", "--json")
    undone = json.loads(output)
    assert (code, undone["peer_ids"], undone["active_count"]) == (0, ["raspi"], 2)
    assert undone["frontier_may_have_risen"] is False
    code, _, errors = await run(socket, "members", "undo", "s")
    assert (code, "no change of members that can be undone" in errors) == (1, True)


async def test_the_commands_exit_codes(socket: Path) -> None:
    done = await asyncio.gather(run(socket, "knowledge", "unknown"), run(socket, "knowledge", "s", "--holds", "xyz"))
    assert [code for code, _, _ in done] == [1, 2]
    assert "no intention of store unknown" in done[0][2]
    assert "xyz is not hexadecimal" in done[1][2]


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(999, "0 s"), (59_999, "59 s"), (60_000, "1 min"), (7_200_000, "2 h"), (86_400_000 * 3, "3 d")],
)
def test_ages(milliseconds: int, text: str) -> None:
    assert age(milliseconds / 1000) == text


def test_sentences() -> None:
    row = PeerKnowledge("raspi", (), None, "", 0, lives=1, active=True, forks=0)
    authors = tuple(AuthorLag(author_id=name, behind=number) for number, name in enumerate("abcde", 1))
    lag = PeerLag("raspi", behind=15, authors=authors, proof_age=7300.0, active=True)
    assert sentence(row, lag) == "raspi: 5 behind e, 4 behind d, 3 behind c, 3 behind 2 others, last proof 2 h ago"
    row = PeerKnowledge("raspi", (), None, "", 0, lives=2, active=False, forks=1)
    assert sentence(row, PeerLag("raspi", 0, (), None, active=False)) == (
        "raspi: provably holds everything, has lost its data (2 lives), has forked 1 time, no proof yet (removed)"
    )
