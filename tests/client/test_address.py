"""Where the service is looked for."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from gossipcontrol.client import AddressError
from gossipcontrol.client.address import DEFAULT_TCP, check_address, default_address


@pytest.mark.parametrize("address", ["unix:/run/x.sock", "127.0.0.1:7420", "example.org:1", "[::1]:65535"])
def test_an_address_is_taken(address: str) -> None:
    assert check_address(address) == address


@pytest.mark.parametrize(
    "address", ["", "unix:", "unix:x.sock", "host", "host:", ":1", "host:0", "host:65536", "h:x", "h:²"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(AddressError):
        check_address(address)


def test_the_variable_comes_first(tmp_path: Path) -> None:
    environ = {"GOSSIPCONTROL_ADDRESS": "h:1", "XDG_RUNTIME_DIR": str(tmp_path)}
    assert default_address(environ) == "h:1"
    with pytest.raises(AddressError):
        default_address({"GOSSIPCONTROL_ADDRESS": "nonsense"})


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
