"""Draws results with matplotlib, which the extra ``sim`` brings, into a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gossipcontrol.sim.result import Result
from gossipcontrol.sim.scenario import Step
from gossipcontrol.sim.trial import ScenarioError
from gossipcontrol.system.printable import printable

FORMATS = (".png", ".svg")
INCHES = (9.0, 3.2)
"""Width of a picture, and height of one panel."""
DOTS = 120
SHOWN = 30
"""Most nodes in the panel of nodes: those longest unheard."""
NAME = 24
"""Most characters of a node's name there."""


def check_plot(path: Path) -> None:
    """Raise ScenarioError when this file cannot be drawn, before anything is run."""
    if path.suffix not in FORMATS:
        raise ScenarioError(f"{path}: a plot is one of {', '.join(FORMATS)}")
    if not path.absolute().parent.is_dir():
        raise ScenarioError(f"{path}: there is no such folder")
    if find_spec("matplotlib") is None:
        raise ScenarioError("plots need matplotlib: pip install 'gossipcontrol[sim]'")


def draw(path: Path, title: str, results: Sequence[Result], steps: Sequence[Step], names: Mapping[str, str]) -> None:
    """Rejoins over time and, where messages are sent, who is unheard over time and by node."""
    mpl: Any = import_module("matplotlib")
    # No window is opened, and one result gives one file, byte by byte.
    with mpl.rc_context({"svg.hashsalt": "gossipcontrol", "axes.spines.top": False, "axes.spines.right": False}):
        make_figure: Any = import_module("matplotlib.figure").Figure
        has_messages = any(one.silences for one in results)
        count = 3 if has_messages else 1
        figure: Any = make_figure(figsize=(INCHES[0], INCHES[1] * count), dpi=DOTS, layout="constrained")
        panels: Any = figure.subplots(count, 1, squeeze=False)[:, 0]
        figure.suptitle(_plain(title), x=0.01, ha="left")
        _draw_rejoins(panels[0], results, steps)
        if has_messages:
            _draw_unheard(panels[1], results, steps)
            _draw_nodes(panels[2], results, names)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=4, frameon=False)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else {"Software": None})


def _draw_rejoins(axes: Any, results: Sequence[Result], steps: Sequence[Step]) -> None:
    for number, one in enumerate(results):
        times = sorted(one.started_at)
        heights = [count / max(1, one.runs) for count in range(len(times) + 1)]
        axes.step([0.0, *times], heights, where="post", label=_plain(one.label), **_line(number, results))
    axes.set(ylabel="rejoins commanded", xlabel="seconds")
    _finish(axes, steps)


def _draw_unheard(axes: Any, results: Sequence[Result], steps: Sequence[Step]) -> None:
    for number, one in enumerate(results):
        if one.unheard:
            axes.plot([100 * share for share in one.unheard], **_line(number, results))
    axes.set(ylabel="% of pairs that do not hear", xlabel="seconds")
    _finish(axes, steps)


def _draw_nodes(axes: Any, results: Sequence[Result], names: Mapping[str, str]) -> None:
    worst = max((one.silences for one in results), key=lambda found: sum(silence.mean for silence in found.values()))
    shown = sorted(worst, key=lambda node_id: -worst[node_id].mean)[:SHOWN]
    width = 0.8 / len(results)
    for number, one in enumerate(results):
        places = [place + (number - (len(results) - 1) / 2) * width for place in range(len(shown))]
        heights = [one.silences[node_id].mean if node_id in one.silences else 0.0 for node_id in shown]
        axes.bar(places, heights, width, color=f"C{number}")
    labels = [_plain((names.get(node_id) or node_id)[:NAME]) for node_id in shown]
    axes.set_xticks(range(len(shown)), labels, rotation=60, ha="right")
    axes.set(ylabel="seconds unheard")
    _finish(axes, ())


def _line(number: int, results: Sequence[Result]) -> dict[str, Any]:
    """The line of a result: those drawn first are wider, so that none hides another."""
    return {"color": f"C{number}", "linewidth": 1.5 + (len(results) - 1 - number)}


def _finish(axes: Any, steps: Sequence[Step]) -> None:
    for step in steps:
        for number in range(step.times):
            begins = step.at + number * step.every
            axes.axvspan(begins, begins + max(step.length, 0.5), color="0.85", zorder=0)
    axes.set_ylim(bottom=0)


def _plain(text: str) -> str:
    """A text without what matplotlib would read as a formula, or leave out of a legend."""
    return printable(text).replace("$", r"\$").lstrip("_") or "-"
