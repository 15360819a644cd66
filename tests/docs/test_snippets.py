"""Every fenced block of the documents is run, or checked as far as it can be without root, network or an hour."""

from __future__ import annotations

import ast
import asyncio
import configparser
import contextlib
import importlib.util
import inspect
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from types import CodeType
from typing import Any

import click
import grpc
import pytest
from click.testing import CliRunner, Result
from gossipcontrol.server.config import Metrics, read_config
from gossipcontrol.v1 import gossip_control_pb2, peer_knowledge_pb2, peer_knowledge_pb2_grpc

from tests.kit.markdown import TOP, Block, all_blocks, blocks, documents, inline_code
from tests.kit.service_lab import BareAgent, Service, config, connected, deciding, rejoin, serving, until

SHOWN = {"text", "mermaid"}
"""Languages that nothing runs."""
SHELL = {"sh", "console"}
RUN = {"python", "toml", "yaml", "ini", "promql"} | SHELL

HOST = "docs"
"""The host of the service that the commands are run against."""
NODES = {
    "dee8daf935e858310f87c6875d813644e5663964094e597d1e3fe2756ce162f8": ("notes",),
    "7064801cdec931d2cfd48724ddfd6adb40849371dee63bf8e821ae2c933cd5a7": ("notes", "todos"),
    "e25f8034f02160ce9b4193908ab51252e9f6816da7f08a1799dee84acd45b1f1": ("notes", "todos"),
}
"""Its nodes: those that the documents show."""
ENDLESS = {("watch",), ("agent", "iroh"), ("top",)}
"""Commands that run until they are stopped; they are only parsed."""
OUTSIDE = {"apt-get", "systemctl", "cp"}
"""Programs that are not ours, and need root: their lines are only taken apart."""
QUIET_TIME = 1.0
"""Seconds for which a task that should go on is watched."""


def program(name: str) -> click.Command:
    """A command of ours, as it is installed."""
    [entry] = entry_points(group="console_scripts", name=name)
    loaded = entry.load()
    assert isinstance(loaded, click.Command), f"{entry.value} is no click command"
    return loaded


def each_of(*languages: str) -> pytest.MarkDecorator:
    """Run a test with each block in these languages."""
    return pytest.mark.parametrize("block", [pytest.param(one, id=one.id) for one in all_blocks(*languages)])


# What there is.


def test_every_block_has_a_language_that_is_known() -> None:
    strange = [f"{block.id}: {block.language or 'none'}" for block in all_blocks() if block.language not in SHOWN | RUN]
    assert strange == []


@each_of("mermaid")
def test_a_diagram_is_of_a_known_kind(block: Block) -> None:
    assert block.text.split()[0] in {"flowchart", "stateDiagram-v2", "sequenceDiagram"}


# Python: the snippets of a document run one after the other, in one namespace, against a service.


@pytest.fixture
async def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Service]:
    """A service with the documents' nodes, which every client finds by itself."""
    async with serving(config(tmp_path, deciding=deciding())) as running:
        monkeypatch.setenv("GOSSIPCONTROL_ADDRESS", running.address)
        monkeypatch.setenv("GOSSIPCONTROL_HOST_ID", HOST)
        monkeypatch.chdir(TOP)
        yield running


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


# Commands.


def commands(block: Block) -> list[tuple[str, list[str]]]:
    """The commands of a block, and the output that is shown with each."""
    lines = block.text.splitlines()
    if block.language == "sh":
        return [(line, []) for line in lines if line.strip() and not line.startswith("#")]
    assert lines[0].startswith("$ "), "a console begins with a command"
    found: list[tuple[str, list[str]]] = []
    for line in lines:
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


@each_of(*SHELL)
async def test_the_commands_of_a_block_do_what_they_show(service: Service, block: Block) -> None:
    async with populated(service):
        for line, shown in commands(block):
            await check_command(shlex.split(line, comments=True), shown)


@contextlib.asynccontextmanager
async def populated(service: Service) -> AsyncGenerator[None]:
    """The documents' nodes are attached, one rejoin was asked for, one intention was recorded."""
    async with connected(service.address) as stub, grpc.aio.insecure_channel(service.address) as channel:
        agents = [BareAgent(stub) for _ in NODES]
        for agent, (node_id, stores) in zip(agents, NODES.items(), strict=True):
            await agent.register(node_id, *stores, host_id=HOST)
        await stub.Rejoin(rejoin(next(iter(NODES)), "notes"))
        await record_intention(channel)
        yield


async def record_intention(channel: grpc.aio.Channel) -> None:
    knowledge: peer_knowledge_pb2_grpc.PeerKnowledgeAsyncStub
    knowledge = peer_knowledge_pb2_grpc.PeerKnowledgeStub(channel)
    intention = peer_knowledge_pb2.Intention(author_id="laptop", hash=b"1" * 32)
    batch = peer_knowledge_pb2.IntentionBatch(store_id="notes", intentions=[intention])
    await knowledge.RecordIntentions(iter([peer_knowledge_pb2.RecordIntentionsRequest(batch=batch)]))


async def check_command(words: list[str], shown: list[str]) -> None:
    while re.fullmatch(r"[A-Z_]+=.*", words[0]):
        variable = words.pop(0).partition("=")[0]
        assert any(variable in path.read_text("utf-8") for path in Path("tests").rglob("*.py")), variable
    match words:
        case ["gossipcontrol" | "gossipcontrol-server" as name, *rest]:
            parse(program(name), rest)
            if is_finite(name, rest):
                compare(await run(name, rest), shown)
        case ["make", *targets]:
            makefile = Path("Makefile").read_text(encoding="utf-8")
            assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets), targets
        case [".venv/bin/python", "-m", "pytest", *rest]:
            assert all(Path(word).exists() for word in rest if not word.startswith("-")), rest
        case [".venv/bin/python", "-m", module, *rest]:
            check_module(module, rest)
        case ["pip", "install", *packages]:
            assert all(is_installable(package) for package in packages), packages
        case [path, *_] if path.startswith(".ci/"):
            assert Path(path).is_file()
        case _:
            assert words[0] in OUTSIDE, f"{words[0]}: not known, so not checked"


def parse(command: click.Command, words: list[str]) -> None:
    """Have click read these words without running anything; raises UsageError for what it does not know."""
    name = str(command.name)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        with click.Context(command) as context:
            found = command.get_command(context, words[0])
        assert found is not None, f"{name} has no command {words[0]}"
        name, command, words = words[0], found, words[1:]
    command.make_context(name, list(words))


def is_finite(name: str, words: list[str]) -> bool:
    """Whether the command ends by itself: the service, the watcher, an agent and what is followed do not."""
    if name == "gossipcontrol-server":
        return words[:1] == ["check"]
    return "--watch" not in words and not any(tuple(words[: len(one)]) == one for one in ENDLESS)


async def run(name: str, words: list[str]) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, program(name), words)


def compare(result: Result, shown: list[str]) -> None:
    """It works, and a table has the columns that are shown; of other output the names of the lines are compared."""
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    if shown and shown[0].isupper():
        assert lines[0].split() == shown[0].split()
    elif shown:
        assert labels(shown) <= labels(lines), result.output


def labels(lines: list[str]) -> set[str]:
    """What stands before a gap of two spaces or more."""
    return {line.partition("  ")[0] for line in lines if "  " in line.strip()}


def check_module(module: str, words: list[str]) -> None:
    """The module exists, and its help names each of these options."""
    assert importlib.util.find_spec(module) is not None, module
    done = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=True)
    assert all(word in done.stdout for word in words if word.startswith("--")), done.stdout


def is_installable(package: str) -> bool:
    extra = re.fullmatch(r"\.(?:\[(\w+)\])?", package)
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    return extra is not None and (not extra[1] or extra[1] in project["optional-dependencies"])


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_every_command_that_is_mentioned_exists(path: Path) -> None:
    """In running text: the command, and each of its options."""
    for code in inline_code(path):
        words = shlex.split(code) if code.startswith("gossipcontrol") and " " in code else []
        if words and words[0] in ("gossipcontrol", "gossipcontrol-server"):
            command, options = program(words[0]), [word for word in words[1:] if word.startswith("-")]
            for word in words[1:]:
                with click.Context(command) as context:
                    inner = command.get_command(context, word) if isinstance(command, click.Group) else None
                command = inner or command
            assert command.name not in ("main", "gossipcontrol"), code
            known = {name for parameter in command.params for name in parameter.opts}
            assert set(options) <= known, code


# Files.


@each_of("toml")
def test_a_configuration_has_no_mistakes(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(block.text, encoding="utf-8")
    read_config(path, {})


@each_of("ini")
def test_a_unit_starts_a_program_of_ours(block: Block) -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign] # systemd's keys have capitals
    unit.read_string(block.text)
    command = shlex.split(unit["Service"]["ExecStart"])
    words = [str(TOP / "deploy" / Path(word).name) if word.startswith("/etc/") else word for word in command[1:]]
    parse(program(Path(command[0]).name), words)


@each_of("promql")
async def test_a_query_asks_for_metrics_that_exist(block: Block, tmp_path: Path) -> None:
    async with serving(replace(config(tmp_path), metrics=Metrics(address="127.0.0.1:0"))) as service:
        page = await service.scrape()
    there = set(re.findall(r"# TYPE (gossipcontrol_\w+)", page))
    asked_for = {re.sub(r"_(bucket|sum|count)$", "", one) for one in re.findall(r"gossipcontrol_\w+", block.text)}
    assert asked_for
    assert asked_for <= there


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool: install the Debian package prometheus")
@each_of("promql", "yaml")
def test_promtool_takes_it(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "file.yml"
    kind, text = "config", block.text
    if block.language == "promql":
        rule = {"record": "job:documented:1", "expr": block.text}
        kind, text = "rules", json.dumps({"groups": [{"name": "g", "rules": [rule]}]})
    path.write_text(text, encoding="utf-8")
    done = subprocess.run(["promtool", "check", kind, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
