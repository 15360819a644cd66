"""Every command with long ids on terminals of 60, 80 and 120 columns: no line is wider, no word is torn."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import re
import struct
import sys
import termios
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from gossipcontrol.client import Client, Intention, IntentionBatch, LivenessReport, PeerObservation
from rich.cells import cell_len

from tests.cli.test_hostile_text import read_all
from tests.kit.service_lab import BareAgent, Service, config, connected, deciding, serving
from tests.kit.until import DEADLINE

NODES = tuple(f"{digit}658937da4a913516974678302255c6ce1b88e3750e954719fd0e4ab072b66b{digit}" for digit in "123")
STORE = "the-notes-of-the-whole-family-" + "x" * 40
STYLE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("status",), ("doctor", "--wait", "0"), ("stores",), ("peers", STORE), ("rejoins",), ("rejoins", "-v"),
    ("rejoin", NODES[0], STORE), ("explain", NODES[0], STORE), ("report", "network-change", "--node", NODES[1]),
    ("knowledge", STORE), ("members", "add", STORE, NODES[2]), ("forget", "--node", NODES[2]), ("cancel", "3"),
)  # fmt: skip


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Service]:
    """Nodes and a store with long ids."""
    settings = config(tmp_path, deciding=deciding(window=30.0, verify_timeout=30.0))
    async with serving(settings) as service, connected(service.address) as stub, Client(service.address) as client:
        agents = [BareAgent(stub) for _ in NODES[:2]]
        for agent, node in zip(agents, NODES, strict=False):
            await agent.register(node, STORE, host_id="h")
        heard = tuple(PeerObservation(one, heard_age=0.5) for one in NODES[1:])
        await client.peer_liveness([LivenessReport(node_id=NODES[0], store_id=STORE, peers=heard)])
        authors = tuple(Intention(author_id=one, hash=one.encode()[:32]) for one in NODES)
        await client.knowledge.record([IntentionBatch(STORE, authors)])
        for node in NODES:
            await client.rejoin(node, [STORE], park=True)
        yield service


RUN_ALL = """
import json, sys
from gossipcontrol.cli.main import main
for words in json.loads(sys.argv[1]):
    try:
        main(words)
    except SystemExit as ended:
        print(f"\\x1e{ended.code or 0}\\x1e", end="", flush=True)
"""
"""One process runs all commands: most of what each would take is its start."""


async def shown(service: Service, width: int) -> list[tuple[str, str]]:
    """What each command shows on a terminal, and its exit code."""
    near, far = pty.openpty()
    fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    kept = {name: text for name, text in os.environ.items() if name not in ("COLUMNS", "LINES")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RUN_ALL, json.dumps(COMMANDS), stdin=far, stdout=far, stderr=far,
        env=kept | {"TERM": "xterm", "GOSSIPCONTROL_ADDRESS": service.address},
    )  # fmt: skip
    os.close(far)
    text = await asyncio.to_thread(read_all, near)
    async with asyncio.timeout(3 * DEADLINE):
        assert await process.wait() == 0, text
    parts = STYLE.sub("", text.decode()).replace("\r", "").split("\x1e")
    return list(zip(parts[::2], parts[1::2], strict=False))


@pytest.mark.parametrize("width", [60, 80, 120])
async def test_every_command_fits_the_terminal(fleet: Service, width: int) -> None:
    results = await shown(fleet, width)
    assert len(results) == len(COMMANDS)
    for words, (text, code) in zip(COMMANDS, results, strict=True):
        lines = [line.rstrip() for line in text.split("\n")]
        assert code in ("0", "1"), (words, text)
        assert "Traceback" not in text
        assert len(lines) > 1
        assert max(map(cell_len, lines)) <= width, (words, lines)
        # A column of single letters below each other is no table.
        assert sum(len(line.strip()) == 1 for line in lines) <= 2, (words, lines)
