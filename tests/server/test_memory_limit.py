"""The default of the memory budget, and the check that limits fit it."""

from __future__ import annotations

import os
from pathlib import Path

from click.testing import CliRunner
from gossipcontrol.server.__main__ import main
from gossipcontrol.server.config import Config, Limits, read_config
from gossipcontrol.server.memory_limit import check_memory, default_limit, fixed_bytes, memory_limit

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_the_default_is_a_quarter_of_the_machine(tmp_path: Path) -> None:
    assert default_limit(tmp_path / "none", tmp_path) == MACHINE // 4


def test_a_control_group_with_less_counts_and_so_do_those_above_it(tmp_path: Path) -> None:
    proc, groups = tmp_path / "cgroup", tmp_path / "groups"
    proc.write_text("0::/a/b\n")
    (groups / "a/b").mkdir(parents=True)
    (groups / "a/b/memory.max").write_text("max\n")
    (groups / "a/memory.max").write_text("400000\n")
    assert default_limit(proc, groups) == 100_000


def test_control_groups_of_the_first_version_count(tmp_path: Path) -> None:
    proc, groups = tmp_path / "cgroup", tmp_path / "groups"
    proc.write_text("5:cpu:/x\n4:memory:/x\n")
    (groups / "memory").mkdir(parents=True)
    (groups / "memory/memory.limit_in_bytes").write_text("800000\n")
    assert default_limit(proc, groups) == 200_000


def test_a_budget_that_is_set_counts() -> None:
    assert memory_limit(Config(limits=Limits(memory=12345))) == 12345


def test_limits_that_do_not_fit_are_refused_with_the_sum(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[limits]\nmemory = 100_000_000\n")
    result = CliRunner().invoke(main, ["check", str(path)])
    assert result.exit_code == 1
    total = sum(fixed_bytes(read_config(path)).values())
    assert f"limits.memory: 100000000 bytes cannot hold the limits, which take {total} bytes" in result.output
    assert "deciding.decision_limit" in result.output
    path.write_text(f"[limits]\nmemory = {total}\n")
    assert CliRunner().invoke(main, ["check", str(path)]).exit_code == 0


def test_the_default_budget_is_not_checked() -> None:
    assert check_memory(Config()) == ""
