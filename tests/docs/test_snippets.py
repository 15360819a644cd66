"""Every fenced block of the documents is run or checked; test_commands.py has the commands."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
from gossipcontrol.server.access.table import read_table
from gossipcontrol.server.config import Metrics, read_config
from gossipcontrol.sim.scenario_file import read_scenario
from gossipcontrol.v1 import gossip_control_pb2

from tests.kit.markdown import TOP, Block, all_blocks, blocks, each_block, tracked
from tests.kit.service_lab import Service, config, connected, serving
from tests.kit.until import until

SHOWN = {"text", "mermaid"}
"""Languages that nothing runs."""
CLIENT = {"go", "rust", "ts", "kotlin", "swift"}
"""Languages of the clients: a block shows lines of the client beside it, which is built and run, or parsed."""
RUN = {"python", "toml", "yaml", "promql", "sh", "console", "nginx"} | CLIENT
"""Languages with a test of their own; those of commands in test_commands.py, nginx in tests/server/access/."""

QUIET_TIME = 1.0
"""Seconds for which a task that should go on is watched."""


# What there is.


def test_every_block_has_a_language_that_is_known() -> None:
    strange = [f"{block.id}: {block.language or 'none'}" for block in all_blocks() if block.language not in SHOWN | RUN]
    assert strange == []


@each_block("mermaid")
def test_a_diagram_is_of_a_known_kind(block: Block) -> None:
    assert block.text.split()[0] in {"flowchart", "stateDiagram-v2", "sequenceDiagram"}


# Python: the snippets of a document run one after the other, in one namespace, against a service.


@pytest.mark.parametrize("path", sorted({block.path for block in all_blocks("python")}), ids=lambda path: path.name)
async def test_the_python_snippets_of_a_document_run(service: Service, path: Path) -> None:
    snippets = [block for block in blocks(path) if block.language == "python"]
    assert {block.name for block in snippets} == set(EXPECTED), "each snippet says what comes of it"
    await asyncio.to_thread(Snippets(service).run, snippets)


class Snippets:
    """Runs snippets in a thread and a loop of their own, as a user's program would."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.names: dict[str, Any] = {}
        self.printed = ""

    def run(self, snippets: Sequence[Block]) -> None:
        with asyncio.Runner() as runner:
            for block in snippets:
                output = io.StringIO()
                with contextlib.redirect_stdout(output):
                    self._execute(runner, block)
                self.printed = output.getvalue()
                runner.run(EXPECTED[block.name](self))
                runner.run(self._check_tasks())

    def _execute(self, runner: asyncio.Runner, block: Block) -> None:
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code = compile("\n" * block.line + block.text, str(block.path), "exec", flags)
        if block.name.startswith("sync"):
            exec(code, self.names)
        else:
            runner.run(self._inside(code))

    async def _inside(self, code: CodeType) -> None:
        result = eval(code, self.names)
        if inspect.iscoroutine(result):
            await result

    async def _check_tasks(self) -> None:
        """Raise what a task of the snippets ended with."""
        for value in self.names.values():
            if isinstance(value, asyncio.Task) and value.done():
                await value

    async def stays(self, task: str) -> None:
        """The task with this name goes on."""
        done, _ = await asyncio.wait({self.names[task]}, timeout=QUIET_TIME)
        for one in done:
            one.result()
        assert not done


async def attached(snippets: Snippets) -> None:
    async with connected(snippets.service.address) as stub:

        async def is_attached() -> bool:
            stores = await stub.ListStores(gossip_control_pb2.ListStoresRequest(node_id="my-node"))
            return any(node.attached for store in stores.stores for node in store.nodes if node.node_id == "my-node")

        await until(is_attached, "the node is attached")


async def fed(snippets: Snippets) -> None:
    async with connected(snippets.service.address) as stub:

        async def is_heard() -> bool:
            page = await stub.ListPeers(gossip_control_pb2.ListPeersRequest(store_id="notes"))
            return "peer-1" in {peer.peer_id for peer in page.peers}

        await until(is_heard, "the service knows who was heard")


async def asked(snippets: Snippets) -> None:
    assert "starts" in snippets.printed
    assert "peer-1" in snippets.printed


async def listed(snippets: Snippets) -> None:
    assert "notes" in snippets.printed


async def watching(snippets: Snippets) -> None:
    await snippets.stays("following")


EXPECTED: dict[str, Callable[[Snippets], Coroutine[Any, Any, None]]] = {
    "agent": attached,
    "feed": fed,
    "client": asked,
    "sync-client": listed,
    "watch": watching,
}
"""By the snippet's name: what must come true."""


# Clients of other languages.


@each_block(*CLIENT)
def test_a_block_shows_lines_of_the_client_beside_it(block: Block) -> None:
    directory = str(block.path.parent.relative_to(TOP))
    sources = "".join(path.read_text("utf-8") for path in tracked(directory) if path.suffix not in (".md", ".lock"))
    there = {line.strip() for line in sources.splitlines()}
    assert [line for line in block.text.splitlines() if line.strip() and line.strip() not in there] == []


# Files.


@each_block("toml")
def test_a_configuration_has_no_mistakes(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(block.text, encoding="utf-8")
    if block.text.startswith("# identities.toml"):
        assert read_table(path).rows
    elif "[[trouble]]" in block.text:
        read_scenario(path)
    else:
        read_config(path, {})


@each_block("promql")
async def test_a_query_asks_for_metrics_that_exist(block: Block, tmp_path: Path) -> None:
    async with serving(replace(config(tmp_path), metrics=Metrics(address="127.0.0.1:0"))) as service:
        page = await service.scrape()
    there = set(re.findall(r"# TYPE (gossipcontrol_\w+)", page))
    asked_for = {re.sub(r"_(bucket|sum|count)$", "", one) for one in re.findall(r"gossipcontrol_\w+", block.text)}
    assert asked_for
    assert asked_for <= there


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool: install the Debian package prometheus")
@each_block("promql", "yaml")
def test_promtool_takes_it(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "file.yml"
    kind, text = "config", block.text
    if block.language == "promql":
        rule = {"record": "job:documented:1", "expr": block.text}
        kind, text = "rules", json.dumps({"groups": [{"name": "g", "rules": [rule]}]})
    path.write_text(text, encoding="utf-8")
    # The files that a configuration names are the reader's.
    further = ["--syntax-only"] if kind == "config" else []
    command = ["promtool", "check", kind, *further, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
