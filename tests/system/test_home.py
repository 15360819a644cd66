"""The home directory of users that have none, as containers start them."""

from __future__ import annotations

from pathlib import Path

import pytest
from gossipcontrol.system.home import home_directory, user_directory

from tests.kit.nobody import needs_nobody, run_as_nobody


@pytest.mark.not_on_windows("directories of root and XDG; LOCALAPPDATA is tested apart")
def test_a_variable_comes_first_then_home() -> None:
    assert user_directory("XDG_RUNTIME_DIR", {"XDG_RUNTIME_DIR": "/run/user/1", "HOME": "/h"}) == Path("/run/user/1")
    assert user_directory("XDG_RUNTIME_DIR", {"HOME": "/h"}) == Path("/h/.local/state")


@pytest.mark.not_on_windows("directories of root and XDG; LOCALAPPDATA is tested apart")
@pytest.mark.parametrize("environ", [{"XDG_STATE_HOME": "relative"}, {"XDG_STATE_HOME": ""}])
def test_a_relative_or_empty_path_is_ignored(environ: dict[str, str]) -> None:
    assert user_directory("XDG_STATE_HOME", {**environ, "HOME": "/h"}) == Path("/h/.local/state")
    assert home_directory({"HOME": "relative"}) is None


@needs_nobody
def test_a_user_without_an_entry_and_without_home_has_none() -> None:
    code = "from gossipcontrol.system.home import home_directory, user_directory as u\nprint(home_directory(), u('X'))"
    run = run_as_nobody("-c", code)
    assert run.stdout == "None None\n", run.stderr
