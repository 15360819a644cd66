"""The commands of an operator of a hub: its authority, its tokens, and why a call is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from gossipcontrol.server.__main__ import main
from gossipcontrol.server.access.hub import CONFIGURATION, TABLE
from gossipcontrol.server.access.table import digest_of, read_table
from gossipcontrol.server.config import read_config


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A hub that was founded."""
    place = tmp_path / "hub"
    made = run("certs", "init", place, "--host", "hub.example.org", "--port", "7000")
    assert (made.exit_code, made.stdout) == (0, f"gossipcontrol-server --config {place}/{CONFIGURATION}\n")
    return place


def test_a_hub_is_founded_whole_and_once(directory: Path) -> None:
    settings = read_config(directory / CONFIGURATION, {"HOME": "/"})
    assert settings.listen.tls == "[::]:7000"
    assert [row.identity.name for row in read_table(Path(settings.access.identities)).rows] == ["devices"]
    assert (directory.stat().st_mode & 0o777, (directory / "authority.key").stat().st_mode & 0o777) == (0o700, 0o600)
    again = run("certs", "init", directory, "--host", "h")
    assert again.exit_code == 1
    assert "there is an authority already" in again.stderr


def test_a_certificate_is_issued_and_revoked(directory: Path) -> None:
    issued = run("certs", "issue", directory, "laptop-7")
    assert issued.stdout.splitlines() == [
        f"GOSSIPCONTROL_TLS_AUTHORITY={directory}/authority.crt",
        f"GOSSIPCONTROL_TLS_CERTIFICATE={directory}/laptop-7.crt",
        f"GOSSIPCONTROL_TLS_KEY={directory}/laptop-7.key",
    ]
    assert "revoke it, or choose another name" in run("certs", "issue", directory, "laptop-7").stderr
    assert run("certs", "revoke", directory, "laptop-7").exit_code == 0
    assert "there is no such certificate" in run("certs", "revoke", directory, "laptop-7").stderr
    assert run("certs", "issue", directory, "laptop-7").exit_code == 0


@pytest.mark.parametrize("name", ["", "a/b", "x" * 65, "authority", "a\x1bb", "küche"])
def test_what_is_no_name_is_refused(directory: Path, name: str) -> None:
    refused = run("certs", "issue", directory, name)
    assert refused.exit_code == 1
    assert "is no name" in refused.stderr
    assert "\x1b" not in refused.stderr


def test_why_a_call_is_allowed_or_denied(directory: Path) -> None:
    asked = ("--config", directory / CONFIGURATION, "access", "explain", "--identity", "laptop-7", "--rpc")
    allowed = run(*asked, "Rejoin", "--node", "laptop-7")
    assert (allowed.exit_code, allowed.stdout) == (0, f"allowed: {directory}/{TABLE}, identity 1\n")
    denied = run(*asked, "Rejoin", "--node", "laptop-8")
    assert denied.exit_code == 1
    assert "node_id: needs laptop-8 in the nodes of agent or admin, and has laptop-7, laptop-7.*" in denied.stdout
    assert "Rejoice is none of" in run(*asked, "Rejoice").stderr


def test_check_reads_the_table_too(directory: Path) -> None:
    checked = run("check", directory / CONFIGURATION)
    assert "devices: certificate *: agent, watcher; nodes {name}" in checked.stdout
    (directory / TABLE).write_text("nonsense", encoding="utf-8")
    broken = run("check", directory / CONFIGURATION)
    assert broken.exit_code == 1
    assert "is not TOML" in broken.stderr


def test_a_token_is_printed_with_the_digest_that_the_table_keeps() -> None:
    token, key = run("token").stdout.splitlines()
    assert key == f'tokens = [{{ sha256 = "{digest_of(token)}" }}]'
    assert len(token) >= 43
