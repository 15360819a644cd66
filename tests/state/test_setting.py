"""The settings of the state, and what is said of wrong ones."""

from __future__ import annotations

import pytest
from gossipcontrol.server.config import ConfigError, default_state, read_config


def test_sqlite_is_the_default() -> None:
    state = read_config(environ={}).state
    assert (state.backend, state.durability) == ("sqlite", "process")


def test_the_default_path_follows_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert default_state({}) == "/var/lib/gossipcontrol/state.db"
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert default_state({"XDG_STATE_HOME": "/home/u/state"}) == "/home/u/state/gossipcontrol/state.db"


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("BACKEND", "redis", "GOSSIPCONTROL_STATE_BACKEND: 'redis' is not one of sqlite, etcd, memory"),
        ("BACKEND", "etcd", 'etcd.endpoints: must be given for state.backend = "etcd"'),
        ("DURABILITY", "some", "GOSSIPCONTROL_STATE_DURABILITY: 'some' is not one of process, full"),
        ("PATH", "", "GOSSIPCONTROL_STATE_PATH: must name a file; to store nothing, set state.backend to memory"),
        ("MAX_BYTES", "1000", "GOSSIPCONTROL_STATE_MAX_BYTES: must be at least 1048576 (1 MiB), is 1000"),
    ],
)
def test_a_wrong_setting_is_explained(variable: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_config(environ={f"GOSSIPCONTROL_STATE_{variable}": value})
    assert error.value.mistakes == [said]
