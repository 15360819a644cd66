"""The configuration: TOML and environment, and every mistake explained in one go."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from gossipcontrol.server.__main__ import main
from gossipcontrol.server.config import Config, ConfigError, default_socket, overrides, read_config


def write(directory: Path, text: str) -> Path:
    path = directory / "gossipcontrol.toml"
    path.write_text(text, encoding="utf-8")
    return path


def mistakes(path: Path | None = None, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_config(path, environ)
    return caught.value.mistakes


def test_nothing_given_means_the_defaults() -> None:
    assert read_config(None, {}) == Config()


def test_values_come_from_toml_and_the_environment_wins(tmp_path: Path) -> None:
    path = write(tmp_path, '[listen]\ntcp = "127.0.0.1:1"\nsocket = ""\n[deciding]\nwindow = 7\nburst = 3\n')
    config = read_config(path, {"GOSSIPCONTROL_DECIDING_WINDOW": "8.5", "GOSSIPCONTROL_LOG_FORMAT": "json"})
    assert (config.listen.tcp, config.listen.socket) == ("127.0.0.1:1", "")
    assert (config.deciding.window, config.deciding.burst) == (8.5, 3)
    assert config.log.format == "json"


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        '[listen]\ntcp = "0.0.0.0:7420"\nport = 1\n[deciding]\nwindow = 0\nrate = nan\nburst = 2.5\n'
        "[log]\nlevel = 3\n[limits]\nmessage_bytes = 2147483648\ndrain = inf\n[extra]\n",
    )
    found = mistakes(path, GOSSIPCONTROL_DECIDING_FANOUT="many", GOSSIPCONTROL_METRICS_ADDRES="x:1")
    assert {mistake.partition(":")[0] for mistake in found} == {
        "listen.tcp", "listen.port", "deciding.window", "deciding.rate", "deciding.burst", "log.level",
        "limits.message_bytes", "limits.drain", "extra", "GOSSIPCONTROL_DECIDING_FANOUT",
        "GOSSIPCONTROL_METRICS_ADDRES",
    }  # fmt: skip
    assert len(found) == 11


@pytest.mark.parametrize(
    ("variable", "value", "what"),
    [
        ("GOSSIPCONTROL_LISTEN_TCP", "example.org:7420", "is not loopback"),
        ("GOSSIPCONTROL_LISTEN_TCP", "7420", "is not HOST:PORT"),
        ("GOSSIPCONTROL_LISTEN_TCP", "127.0.0.1:65536", "is not HOST:PORT"),
        ("GOSSIPCONTROL_METRICS_ADDRESS", "127.0.0.1:", "is not HOST:PORT"),
        ("GOSSIPCONTROL_LOG_FORMAT", "xml", "is not one of logfmt, json"),
        ("GOSSIPCONTROL_LOG_LEVEL", "INFO", "is not one of debug, info"),
        ("GOSSIPCONTROL_RETRY_ATTEMPTS", "0", "must be greater than 0"),
        ("GOSSIPCONTROL_RETRY_BASE", "-1", "must be greater than 0"),
        ("GOSSIPCONTROL_RETRY_CAP", "nan", "must be greater than 0"),
        ("GOSSIPCONTROL_LIMITS_DRAIN", "x", "is not a number"),
        ("GOSSIPCONTROL_DECIDING_BURST", "1.5", "is not a whole number"),
    ],
)
def test_a_wrong_value_is_explained_under_the_name_that_gave_it(variable: str, value: str, what: str) -> None:
    [mistake] = mistakes(None, **{variable: value})
    assert mistake.startswith(f"{variable}: ")
    assert what in mistake


def test_the_proof_may_not_take_longer_than_the_window() -> None:
    [mistake] = mistakes(None, GOSSIPCONTROL_DECIDING_WINDOW="2")
    assert mistake == "deciding.verify_timeout must not be greater than window"


def test_variables_of_others_are_none_of_its_business() -> None:
    assert read_config(None, {"GOSSIPCONTROL_ADDRESS": "unix:/x", "HOME": "/"}) == Config()


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:7420", "[::1]:7420", ""])
def test_loopback_addresses_are_allowed(address: str) -> None:
    assert read_config(None, {"GOSSIPCONTROL_LISTEN_TCP": address}).listen.tcp == address


@pytest.mark.parametrize("text", ["[listen", "listen = 3", "a = 1"])
def test_a_broken_document_is_explained(tmp_path: Path, text: str) -> None:
    assert len(mistakes(write(tmp_path, text))) == 1


def test_the_socket_lies_in_the_run_directory_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert default_socket({"XDG_RUNTIME_DIR": "/run/user/1000"}) == "/run/user/1000/gossipcontrol/gossipcontrol.sock"
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert default_socket({}) == "/run/gossipcontrol/gossipcontrol.sock"


def test_check_passes_a_good_file(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["check", str(write(tmp_path, "[deciding]\nwindow = 9.0\n"))])
    assert (result.exit_code, result.stdout.endswith("no mistakes\n")) == (0, True)


def test_check_explains_a_bad_file(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["check", str(write(tmp_path, "[deciding]\nwindow = 0\nrate = -1\n"))])
    assert result.exit_code == 1
    assert [line.partition(":")[0] for line in result.stderr.splitlines()] == ["deciding.window", "deciding.rate"]


def test_check_explains_a_missing_file(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["check", str(tmp_path / "none.toml")])
    assert result.exit_code == 1
    assert "cannot be read: No such file" in result.stderr


def test_check_without_a_file_is_a_usage_error() -> None:
    assert CliRunner().invoke(main, ["check"]).exit_code == 2


def test_what_the_environment_decides_is_named_with_what_it_hides(tmp_path: Path) -> None:
    """``check`` said "no mistakes" about a wrong value that a variable of its shell hid."""
    path = tmp_path / "gc.toml"
    path.write_text('[listen]\ntcp = "0.0.0.0:7420"\n[log]\nlevel = "info"\n', encoding="utf-8")
    environ = {"GOSSIPCONTROL_LISTEN_TCP": "127.0.0.1:1", "GOSSIPCONTROL_LOG_LEVEL": "debug", "HOME": "/root"}
    tcp, level = overrides(path, environ)
    assert (tcp.key, tcp.variable, tcp.value) == ("listen.tcp", "GOSSIPCONTROL_LISTEN_TCP", "127.0.0.1:1")
    assert "0.0.0.0 is not loopback" in tcp.mistakes[0]
    assert (level.key, level.mistakes) == ("log.level", [])


def test_check_names_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "gc.toml"
    path.write_text('[listen]\ntcp = "0.0.0.0:7420"\n', encoding="utf-8")
    hidden = CliRunner().invoke(main, ["check", str(path)], env={"GOSSIPCONTROL_LISTEN_TCP": "127.0.0.1:1"})
    assert hidden.exit_code == 1
    assert "comes from the environment: GOSSIPCONTROL_LISTEN_TCP" in hidden.output
    assert "0.0.0.0 is not loopback" in hidden.output
    path.write_text("", encoding="utf-8")
    fine = CliRunner().invoke(main, ["check", str(path)], env={"GOSSIPCONTROL_LISTEN_TCP": "127.0.0.1:1"})
    assert fine.exit_code == 0
    assert "GOSSIPCONTROL_LISTEN_TCP" in fine.output
