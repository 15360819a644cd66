"""Every command in the documents is run against a real service, or read as its own parser reads it."""

from __future__ import annotations

import asyncio
import configparser
import contextlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import AsyncGenerator
from importlib.metadata import entry_points
from pathlib import Path

import click
import grpc
import pytest
from click.testing import CliRunner, Result
from gossipcontrol.v1 import peer_knowledge_pb2, peer_knowledge_pb2_grpc

from tests.clients.built import LANGUAGES, RUST_AGENT
from tests.kit.markdown import TOP, Block, documents, each_block, inline_code
from tests.kit.service_lab import BareAgent, Service, channel_to, connected, rejoin

NODES = {
    "3658937da4a913516974678302255c6ce1b88e3750e954719fd0e4ab072b66b9": ("notes",),
    "582d3a0804c8c4d8631cfcf254c2e4a032e1e228559070c0258ddb266bee9bcd": ("notes", "todos"),
    "ad4e243bf88d99f464c2240f55fadbbbdc1afab1b641c84be8e719f4585174b7": ("notes", "todos"),
}
"""The nodes that the documents show, with their stores."""
ENDLESS = {("watch",), ("agent", "iroh"), ("agent", "serf"), ("agent", "lattice"), ("top",)}
"""Commands that run until they are stopped; they are only parsed."""
HTTP = "127.0.0.1:7421"
"""Where the documents' service listens for HTTP."""
OUTSIDE = {"apt-get", "systemctl", "cp", "schtasks", "sqlite3", "etcdctl", "kubectl"}
"""Programs that are not ours, and need root or a cluster: their lines are only taken apart."""


def program(name: str) -> click.Command:
    """A command of ours, as it is installed."""
    [entry] = entry_points(group="console_scripts", name=name)
    loaded = entry.load()
    assert isinstance(loaded, click.Command), f"{entry.value} is no click command"
    return loaded


def commands(block: Block) -> list[tuple[str, list[str]]]:
    """The commands of a block, and the output that is shown with each."""
    lines = block.text.replace("\\\n", "").splitlines()
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


@each_block("sh", "console")
async def test_the_commands_of_a_block_do_what_they_show(service: Service, block: Block) -> None:
    async with populated(service):
        for line, shown in commands(block):
            words = shlex.split(line, comments=True)
            if block.path.is_relative_to(TOP / "clients"):
                check_client(words, block.path.parent)
            elif words[0] == "curl":
                await check_curl(words, shown, service.app.http_port)
            else:
                await check_command(words, shown)


@contextlib.asynccontextmanager
async def populated(service: Service) -> AsyncGenerator[None]:
    """The documents' nodes are attached, one rejoin was asked for, one intention was recorded."""
    async with connected(service.address) as stub, channel_to(service.address) as channel:
        agents = [BareAgent(stub) for _ in NODES]
        for agent, (node_id, stores) in zip(agents, NODES.items(), strict=True):
            await agent.register(node_id, *stores, host_id=os.environ["GOSSIPCONTROL_HOST_ID"])
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
        case [path, *_] if path.startswith((".ci/", "dev/")):
            assert Path(path).is_file()
        case _:
            assert words[0] in OUTSIDE, f"{words[0]}: not known, so not checked"


def check_client(words: list[str], directory: Path) -> None:
    """What builds a client of another language, or runs it: tests/clients/ does both."""
    [language] = [one for one in (*LANGUAGES, RUST_AGENT) if directory == TOP / one.directory]
    if words != ["./build.sh"]:
        *command, address, _, kind, seconds = words
        assert tuple(command) == language.command
        assert (address, kind, float(seconds)) == ("127.0.0.1:7420", "foreground", 60)
    assert os.access(directory / "build.sh", os.X_OK)


async def check_curl(words: list[str], shown: list[str], port: int) -> None:
    """Curl gets, from this service, an answer with the fields and statuses that are shown."""
    if shutil.which("curl") is None:
        pytest.skip("needs curl: install the Debian package curl")
    words = [word.replace(HTTP, f"127.0.0.1:{port}") for word in words]
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    output = (await process.communicate())[0].decode(errors="replace")
    assert process.returncode in (0, 28), output  # 28: --max-time ended what has no end
    wanted, found = names("\n".join(shown)), names(output)
    assert wanted <= found, output


def names(text: str) -> set[str]:
    """The fields of JSON, the status and the headers that a text has."""
    return set(re.findall(r"\"\w+\":|^HTTP/1.1 \d+|^[\w-]+:", text, re.MULTILINE))


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


@pytest.mark.parametrize("path", sorted((TOP / "deploy/systemd").glob("*.service")), ids=lambda path: path.name)
def test_a_unit_starts_a_program_of_ours(path: Path) -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign] # systemd's keys have capitals
    unit.read_string(path.read_text(encoding="utf-8"))
    command = shlex.split(unit["Service"]["ExecStart"])
    words = [str(TOP / "deploy" / Path(word).name) if word.startswith("/etc/") else word for word in command[1:]]
    parse(program(Path(command[0]).name), words)
