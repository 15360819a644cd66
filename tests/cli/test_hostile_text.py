"""Ids, details and errors of strangers, through every command, in a pipe and on a terminal."""

from __future__ import annotations

import asyncio
import os
import re
import struct
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner
from gossipcontrol.cli.main import main
from gossipcontrol.client import Client, Intention, IntentionBatch, LivenessReport, NetworkChange, PeerObservation
from gossipcontrol.client.enumeration import ChangeKind
from gossipcontrol.server.__main__ import main as serve

from tests.kit.hostile_text import HOSTILE, raw_characters
from tests.kit.service_lab import Service, config, deciding, serving
from tests.kit.until import DEADLINE

if sys.platform != "win32":
    import fcntl
    import pty
    import termios

TEXTS = tuple(HOSTILE.values())
SERVICE = "gossipcontrol.v1.GossipControl"
NODE, STORE = HOSTILE["title"], HOSTILE["C1"]
STYLE = re.compile(r"\x1b\[[0-9;?]*[mhlHKJ]|\x1b\[[0-9;]*A|\r\n")
"""What rich itself writes on a terminal: colours, the cursor, the screen; and a terminal's own line ends."""
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("stores",),
    ("peers", STORE),
    ("rejoins",),
    ("rejoins", "-v"),
    ("rejoin", NODE, STORE),
    ("explain", NODE, STORE),
    ("report", "network-change", "--node", NODE),
    ("knowledge", STORE),
    ("top", "--count", "1"),
    ("status",),
)


@pytest.fixture
async def hostile(tmp_path: Path) -> AsyncIterator[Service]:
    """A service whose every id was chosen by a stranger."""
    async with serving(config(tmp_path, deciding=deciding())) as service, Client(service.address) as client:
        for text in TEXTS:
            async with Client(service.address) as stranger:  # one connection may name only so much
                await stranger.rejoin(text, sorted({text, STORE}), park=True)
                change = NetworkChange(node_ids=(text,), kind=ChangeKind.RESUMED, detail=text)
                await stranger.report_network_change(change)
                peers = tuple(PeerObservation(one, heard_age=0.0) for one in TEXTS if one != NODE)
                await stranger.peer_liveness(
                    [LivenessReport(node_id=NODE, store_id=store, peers=peers) for store in {text, STORE}]
                )
        links = tuple(Intention(author_id=text, hash=text.encode()[:64]) for text in TEXTS)
        await client.knowledge.record([IntentionBatch(STORE, links)])
        yield service


def environment(address: str, **more: str) -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    return {**kept, "GOSSIPCONTROL_ADDRESS": address, **more}


async def in_a_pipe(service: Service, words: Sequence[str]) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gossipcontrol.cli", *words, env=environment(service.address),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    return output.decode().replace(os.linesep, "\n")


async def on_a_terminal(address: str, words: Sequence[str]) -> str:
    near, far = pty.openpty()
    fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gossipcontrol.cli", *words, env=environment(address, TERM="xterm"),
        stdin=far, stdout=far, stderr=far, start_new_session=True,
    )  # fmt: skip
    os.close(far)
    read = asyncio.create_task(asyncio.to_thread(read_all, near))
    async with asyncio.timeout(3 * DEADLINE):
        await process.wait()
        return STYLE.sub("", (await read).decode())


def read_all(near: int) -> bytes:
    data = b""
    with os.fdopen(near, "rb", buffering=0) as file:
        while True:
            try:
                more = file.read(65536)
            except OSError:  # the other end is closed
                return data
            if not more:
                return data
            data += more


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words).encode("unicode_escape").decode()[:40])
async def test_a_command_prints_nothing_raw(hostile: Service, words: tuple[str, ...]) -> None:
    """solana-labs/solana#20495, boxdot/gurk-rs#384: control characters of others reached the terminal."""
    outputs = [await in_a_pipe(hostile, words)]
    if sys.platform != "win32":  # which has no pseudo-terminals
        outputs.append(await on_a_terminal(hostile.address, words))
    for output in outputs:
        assert "Traceback" not in output
        assert output.strip()
        assert raw_characters(output) == set()


@pytest.mark.parametrize("words", COMMANDS[:4], ids=" ".join)
async def test_json_is_ascii_and_keeps_every_character(hostile: Service, words: tuple[str, ...]) -> None:
    output = await in_a_pipe(hostile, (*words[:1], *(word for word in words[1:] if word != "-v"), "--json"))
    assert output.isascii()
    assert raw_characters(output) == set()


async def test_changes_of_presence_are_printed_readable(hostile: Service) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-u", "-m", "gossipcontrol.cli", "peers", STORE, "--watch", env=environment(hostile.address),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    lines: list[str] = []
    async with asyncio.timeout(DEADLINE):
        while not lines or "waiting for changes" not in lines[-1]:
            lines.append((await process.stdout.readline()).decode().replace(os.linesep, "\n"))
    process.terminate()
    await process.wait()
    assert len(lines) > len(TEXTS) - 3
    assert raw_characters("".join(lines)) == set()


@pytest.mark.parametrize("code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE])
@pytest.mark.parametrize("command", [("stores",), ("top", "--count", "1")], ids=" ".join)
async def test_errors_of_a_service_are_printed_readable(command: tuple[str, ...], code: grpc.StatusCode) -> None:
    async def fail(request: Any, context: Any) -> None:
        await context.abort(code, HOSTILE["title"])

    server = grpc.aio.server()
    make: Any = grpc.unary_unary_rpc_method_handler
    handlers: dict[str, Any] = {"ListStores": make(fail)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gossipcontrol.cli", *command, "--address", f"127.0.0.1:{port}",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await process.communicate()
        texts = [output.decode().replace(os.linesep, "\n")]
        if sys.platform != "win32":  # which has no pseudo-terminals
            texts.append(await on_a_terminal(f"127.0.0.1:{port}", command))
    finally:
        await server.stop(None)
    assert process.returncode in (1, 3)
    for text in texts:
        # A busy machine may not answer within the command's time.
        assert "pwned" in text or "gives no answer in time" in text
        assert raw_characters(text) == set()


@pytest.mark.parametrize("text", TEXTS, ids=HOSTILE)
def test_what_click_says_of_a_wrong_word_is_readable(text: str) -> None:
    for words in (["rejoin", "n", "--cause", text], [text], ["explain", "n", "--host-id", text],
                  ["knowledge", "s", "--holds", text], ["status", "--address", text], [f"--{text}"]):  # fmt: skip
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 2
        assert raw_characters(result.output) == set(), words


@pytest.mark.parametrize("words", [["check", "FILE"], ["--config", "FILE"]], ids=" ".join)
def test_mistakes_of_a_configuration_are_printed_readable(words: list[str], tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[log]\n"a\\u001b]0;pwned\\u0007\\u009b" = 1\n', encoding="utf-8")
    result = CliRunner().invoke(serve, [str(file) if word == "FILE" else word for word in words])
    assert result.exit_code == 1
    assert "pwned" in result.output
    assert raw_characters(result.output) == set()
