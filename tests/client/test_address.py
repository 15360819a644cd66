"""Where the service is looked for."""

from __future__ import annotations

import socket
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from gossipcontrol.client import AddressError
from gossipcontrol.client.address import DEFAULT_TCP, TLS, check_address, default_address
from hypothesis import example, given
from hypothesis import strategies as st

SOCKETS = [] if sys.platform == "win32" else ["unix:/run/x.sock"]


@pytest.mark.parametrize("address", ["127.0.0.1:7420", "example.org:1", "[::1]:65535", *SOCKETS])
def test_an_address_is_taken(address: str) -> None:
    assert check_address(address) == address


@pytest.mark.parametrize(
    "address", ["", "unix:", "unix:x.sock", "host", "host:", ":1", "host:0", "host:65536", "h:x", "h:²"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(AddressError):
        check_address(address)


@given(st.one_of(st.text(max_size=80), st.text("a.-:[]\0 é", max_size=80)))
@example("a..b")
@example("x" * 64)
def test_what_is_taken_can_be_looked_up(host: str) -> None:
    """A name with an empty or a long label ended a command with a traceback, and an agent."""
    try:
        address = check_address(f"{host}:1")
    except AddressError:
        return
    found = address.removeprefix(TLS).rpartition(":")[0].strip("[]")
    with suppress(OSError):  # that there is no such host
        socket.getaddrinfo(found, 1, flags=socket.AI_NUMERICHOST)


def test_a_url_is_no_address() -> None:
    """It was looked up: "the name http://127.0.0.1 is not known"."""
    with pytest.raises(AddressError, match="is a URL"):
        check_address("http://127.0.0.1:9742")


def test_the_variable_comes_first(tmp_path: Path) -> None:
    environ = {"GOSSIPCONTROL_ADDRESS": "h:1", "XDG_RUNTIME_DIR": str(tmp_path)}
    assert default_address(environ) == "h:1"
    with pytest.raises(AddressError):
        default_address({"GOSSIPCONTROL_ADDRESS": "nonsense"})


@pytest.mark.not_on_windows("gRPC has no Unix sockets there")
def test_then_the_users_socket_then_tcp(tmp_path: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    if Path("/run/gossipcontrol/gossipcontrol.sock").exists():
        pytest.skip("a service of the system runs here: stop it to run this test")
    assert default_address(environ) == DEFAULT_TCP
    path = tmp_path / "gossipcontrol" / "gossipcontrol.sock"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        assert default_address(environ) == f"unix:{path}"


def test_a_unix_socket_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gossipcontrol.client.address.NO_SOCKETS", "gRPC has no Unix sockets on Windows")
    with pytest.raises(AddressError, match="gRPC has no Unix sockets on Windows; use host:port"):
        check_address("unix:/run/x.sock")
    assert default_address({"XDG_RUNTIME_DIR": "/run"}) == DEFAULT_TCP
