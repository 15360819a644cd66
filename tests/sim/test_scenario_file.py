"""Scenario files: what they say is what runs, and each mistake is named by its key."""

from __future__ import annotations

from pathlib import Path

import pytest
from gossipcontrol.sim.scenario import Step
from gossipcontrol.sim.scenario_file import read_scenario
from gossipcontrol.sim.trial import ScenarioError, read_trial

from tests.kit.markdown import TOP

WHOLE = """
name = "n"
nodes = 9
overlay = "plain"
stores = 3
duration = 30
seed = 4
seeds = 2
[links]
loss = 0.5
[[trouble]]
what = "lid"
at = 3
times = 4
every = 2.5
[deciding]
window = 9.0
[liveness]
offline_after = 12
"""


def write(directory: Path, text: str) -> Path:
    path = directory / "night.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_key_is_taken_over(tmp_path: Path) -> None:
    fleet = read_scenario(write(tmp_path, WHOLE))
    scenario = fleet.scenario
    assert (scenario.name, scenario.nodes, scenario.stores, scenario.duration, scenario.loss) == ("n", 9, 3, 30.0, 0.5)
    assert scenario.steps == (Step(what="lid", at=3.0, times=4, every=2.5),)
    assert (fleet.overlay, list(fleet.seeds)) == ("plain", [4, 5])
    assert (scenario.parameters.window, scenario.liveness.offline_after) == (9.0, 12.0)
    assert read_scenario(write(tmp_path, "nodes = 3")).scenario.name == "night"


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ("", ["nodes: must be given"]),
        ("nodes = 1", ['nodes: the overlay "field" needs at least 2']),
        ("nodes = 3\nnods = 4", ["nods: unknown key; known are name, overlay"]),
        ("nodes = 3.5", ["nodes: 3.5 is not a whole number"]),
        ("nodes = 3\nduration = -1", ["duration: must be from 0 to 1e+06, is -1"]),
        ("nodes = 3\nstores = 2", ['stores: the overlay "field" has one store']),
        ('nodes = 3\noverlay = "mesh"', ["overlay: 'mesh' is not one of field, plain"]),
        ("nodes = 3\n[links]\nspeed = 1", ["links.speed: unknown key; known are delay, loss, duplicate"]),
        ("nodes = 3\nlinks = 1", ["links: must be a table, [links]"]),
        ("nodes = 3\ntrouble = 1", ["trouble: must be tables, [[trouble]]"]),
        ("nodes = 3\n[[trouble]]\nwhat = 'fire'", ["trouble 1.what: 'fire' is not one of ask", "trouble 1.at: must"]),
        ("nodes = 3\n[[trouble]]\nwhat = 'lid'\nat = 1", ["trouble 1.what: 'lid' is not one of", "in this overlay"]),
        ("nodes = 3\n[[trouble]]\nwhat = 'ask'\nat = true", ["trouble 1.at: True is not a number"]),
        ("nodes = 3\n[deciding]\nwindow = 0.0", ["deciding.window: must be greater than 0"]),
        ("nodes = ", ["is neither a state file nor TOML"]),
    ],
)  # fmt: skip
def test_each_mistake_is_named_by_its_key(text: str, mistakes: list[str], tmp_path: Path) -> None:
    with pytest.raises(ScenarioError) as caught:
        read_scenario(write(tmp_path, text))
    assert [one for one in mistakes if one not in str(caught.value)] == []


def test_a_configuration_is_that_of_the_service_whatever_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOSSIPCONTROL_DECIDING_WINDOW", "77")
    assert read_trial(write(tmp_path, "[deciding]\nwindow = 8.0")).deciding.window == 8.0
    assert read_trial(TOP / "deploy/gossipcontrol.toml").label == "gossipcontrol"
    for text, mistake in (("[deciding]\nwindow = 'x'", "deciding.window"), ("[decide]", "decide: unknown section")):
        with pytest.raises(ScenarioError, match=mistake):
            read_trial(write(tmp_path, text))
    with pytest.raises(ScenarioError, match="cannot be read"):
        read_trial(tmp_path / "none.toml")
