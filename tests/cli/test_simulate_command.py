"""``gossipcontrol simulate``: tables, plots and errors, without a service."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from gossipcontrol.cli.main import main
from gossipcontrol.cli.simulation_table import plain_result
from gossipcontrol.sim.plot import draw
from gossipcontrol.sim.result import Result as Measured
from gossipcontrol.sim.result import Silence

from tests.kit.hostile_text import HOSTILE, raw_characters
from tests.state.written_before.written_state import unpack

SCENARIO = """
nodes = 4
duration = 40.0
[[trouble]]
what = "partition"
at = 10.0
length = 15.0
share = 0.5
"""


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "night.toml"
    path.write_text(SCENARIO, encoding="utf-8")
    return path


def run(*words: object) -> Result:
    return CliRunner().invoke(main, ["simulate", *map(str, words)], env={"GOSSIPCONTROL_ADDRESS": "nonsense"})


def test_configurations_stand_side_by_side(scenario: Path, tmp_path: Path) -> None:
    (tmp_path / "slow.toml").write_text("[deciding]\nwindow = 60.0\n", encoding="utf-8")
    done = run(scenario, "--config", tmp_path / "slow.toml", "--without-service", "--seeds", 2)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "night: 2 runs, of which these are the means"
    assert lines[1].split() == ["MEASURE", "no", "service", "slow"]
    assert any(line.startswith("unheard, mean of nodes") for line in lines)
    assert any(line.startswith("n0 ") and line.count("rejoin") == 2 for line in lines)


def test_a_record_is_read_from_a_state_file(tmp_path: Path) -> None:
    done = run(unpack(tmp_path), "--json")
    assert done.exit_code == 0, done.output
    recorded, replayed = json.loads(done.stdout)["results"]
    assert (recorded["label"], replayed["label"]) == ("recorded", "replayed")
    assert recorded["messages"] is recorded["unheard_seconds"] is None
    assert recorded["rejoins_commanded"] > 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("none.toml",), 1, "none.toml: No such file"),
        (("night.toml", "--config", "none.toml"), 1, "none.toml: cannot be read"),
        (("night.toml", "--last", "5"), 2, "--last is for a record"),
        (("state.db", "--seeds", "3"), 2, "are for scenarios, not for a record"),
        (("night.toml", "--plot", "x.gif"), 1, "x.gif: a plot is one of .png, .svg"),
        (("night.toml", "--plot", "no/x.svg"), 1, "there is no such folder"),
    ],
)
def test_a_mistake_is_one_line(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int, said: str
) -> None:
    unpack(tmp_path)
    monkeypatch.chdir(scenario.parent)
    done = run(*words)
    assert (done.exit_code, said in done.stderr) == (code, True), done.output
    assert done.stdout == ""


def absent(_name: str) -> None:
    """No package is there."""


def test_without_matplotlib_a_plot_is_refused_before_anything_runs_and_a_table_is_not(
    scenario: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gossipcontrol.sim.plot.find_spec", absent)
    refused = run(scenario, "--plot", scenario.with_suffix(".png"))
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr == "gossipcontrol: plots need matplotlib: pip install 'gossipcontrol[sim]'\n"
    assert run(scenario).exit_code == 0
    assert "matplotlib" not in sys.modules or find_spec("matplotlib")


@pytest.mark.not_on_windows("matplotlib is not installed there; it draws the same everywhere")
def test_a_plot_is_drawn_beside_the_table(scenario: Path) -> None:
    assert find_spec("matplotlib"), "pip install 'gossipcontrol[sim]'"
    done = run(scenario, "--plot", scenario.with_suffix(".png"))
    assert (done.exit_code, done.stdout.splitlines()[1].split()[0]) == (0, "MEASURE")
    assert scenario.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.not_on_windows("matplotlib is not installed there; it draws the same everywhere")
def test_the_same_result_gives_the_same_plot_in_which_hostile_names_are_escaped(tmp_path: Path) -> None:
    names = {f"n{number}": text for number, text in enumerate([*HOSTILE.values(), "$x^{", "_hidden"])}
    measured = Measured("a$b", runs=1, silences={one: Silence(1.0, 2.0) for one in names}, unheard=[0.0, 1.0])
    for name in ("one.svg", "two.svg"):
        draw(tmp_path / name, "$\\frac", [measured], (), names)
    drawn = (tmp_path / "one.svg").read_text(encoding="utf-8")
    assert "% of pairs that do not hear" in drawn
    assert raw_characters(drawn) == set()
    assert drawn == (tmp_path / "two.svg").read_text(encoding="utf-8")
    assert plain_result(measured, names)["nodes"][0]["name"] == names["n0"]
