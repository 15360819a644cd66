"""A start that fails names its cause; a user without a home directory is told what to set."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from gossipcontrol.server import __main__ as server_main
from gossipcontrol.server.config import Config, ConfigError, read_config
from gossipcontrol.server.errors import StartError
from gossipcontrol.server.observe.log import Logger
from gossipcontrol.server.rpc.listener import listen_on_tcp

from tests.kit.nobody import USER, needs_nobody, run_as_nobody

QUIET = {
    "GOSSIPCONTROL_LISTEN_SOCKET": "",
    "GOSSIPCONTROL_LISTEN_TCP": "",
    "GOSSIPCONTROL_METRICS_ADDRESS": "",
    "GOSSIPCONTROL_STATE_BACKEND": "memory",
}
"""Settings that need nothing."""
UNPRIVILEGED = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


def refused(**settings: str) -> str:
    """What the service says when a user of no name starts it with these settings."""
    chosen = {**QUIET, **{f"GOSSIPCONTROL_{name.upper()}": value for name, value in settings.items()}}
    run = run_as_nobody(
        "-m", "gossipcontrol.server", environ={name: text for name, text in chosen.items() if text != "-"}
    )
    assert run.returncode == 1, run.stderr
    assert "Traceback" not in run.stderr
    return run.stderr


@needs_nobody
def test_a_user_without_a_home_is_told_what_to_set() -> None:
    """phusion/passenger#1849, 389ds/389-ds-base#5102, apple/containerization#278: a traceback from Path.home()."""
    said = refused(listen_socket="-", state_backend="-")
    assert [line.partition(":")[0] for line in said.splitlines()] == ["listen.socket", "state.path"]
    assert f"user {USER} has no home directory" in said
    assert "XDG_RUNTIME_DIR" in said
    assert "XDG_STATE_HOME" in said


def test_who_names_the_paths_needs_no_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("os.geteuid", lambda: USER)
    with pytest.raises(ConfigError):
        read_config(environ={})
    state, run = {"XDG_STATE_HOME": "/s"}, {"XDG_RUNTIME_DIR": "/r"}
    config = read_config(environ={**state, **run})
    assert (config.state.path, config.listen.socket) == (
        "/s/gossipcontrol/state.db", "/r/gossipcontrol/gossipcontrol.sock",
    )  # fmt: skip
    read_config(environ={"GOSSIPCONTROL_LISTEN_SOCKET": "", "GOSSIPCONTROL_STATE_BACKEND": "memory"})
    path = tmp_path / "c.toml"
    path.write_text('[listen]\nsocket = ""\n[state]\npath = "/s/state.db"\n')
    assert read_config(path, {}).listen.socket == ""


@needs_nobody
@pytest.mark.parametrize("key", ["listen_socket", "state_path"])
def test_a_directory_where_nothing_may_be_written_is_no_other_service(key: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    settings = {key: str(tmp_path / "file"), **({"state_backend": "sqlite"} if key == "state_path" else {})}
    said = refused(**settings)
    assert str(tmp_path / "file") in said
    assert "Permission denied" in said
    assert "another service" not in said


@needs_nobody
@pytest.mark.parametrize("key", ["listen_socket", "state_path"])
def test_a_place_that_is_read_only_is_named(key: str) -> None:
    settings = {key: "/proc/gossipcontrol/file", **({"state_backend": "sqlite"} if key == "state_path" else {})}
    said = refused(**settings)
    assert "/proc/gossipcontrol/file" in said
    assert "another service" not in said


@needs_nobody
@pytest.mark.skipif(int(UNPRIVILEGED.read_text()) < 1024, reason="needs net.ipv4.ip_unprivileged_port_start = 1024")
@pytest.mark.parametrize("key", ["listen_tcp", "metrics_address"])
def test_a_port_below_1024_needs_a_right(key: str) -> None:
    said = refused(**{key: "127.0.0.1:79"})
    assert "127.0.0.1:79" in said
    assert "Permission denied; ports below 1024 need root or the capability CAP_NET_BIND_SERVICE" in said


def free(address: str) -> int:
    raise AssertionError(f"{address} is not free, so gRPC must not be asked")


def test_a_busy_port_is_named_with_its_address() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        for name, also in (("127.0.0.1", ""), ("localhost", f"127.0.0.1:{port}: ")):
            with pytest.raises(StartError) as caught:
                listen_on_tcp(f"{name}:{port}", free)
            assert f"{name}:{port} cannot be listened on: " in str(caught.value)
            assert f"{also}Address already in use; is another service running there?" in str(caught.value)


def test_what_grpc_says_is_told_when_the_address_is_free() -> None:
    def fail(address: str) -> int:
        raise RuntimeError("gRPC's own reason")

    with pytest.raises(StartError, match=r"cannot be listened on: gRPC's own reason"):
        listen_on_tcp("127.0.0.1:0", fail)


def test_why_the_service_cannot_start_is_printed_readable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The name of a file may set the title of the terminal."""

    async def failing(config: Config, log: Logger, read: Callable[[], Config]) -> None:
        raise StartError("state.path \x1b]0;pwned\x07.db: no space left")

    monkeypatch.setattr("gossipcontrol.server.process.serve", failing)
    assert server_main._serve(read_config(None), read_config) == 1  # pyright: ignore[reportPrivateUsage]
    said = capsys.readouterr().err
    assert "no space left" in said
    assert "\x1b" not in said
    assert "\x07" not in said
