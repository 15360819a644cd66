"""The alerts and the dashboard that are shipped: they fire for what can be mended, and ask for metrics that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gossipcontrol.server.config import Metrics

from dev.dashboard import DASHBOARD, PAGE, dashboard
from dev.ordinary_life import RULES, SITES, TROUBLES, live, packed, quiet_week, troubled_day
from tests.kit.service_lab import config, serving

TOP = Path(__file__).parents[2]
HEADINGS = ("## What it means", "## What to look at", "## What to do")
NOT_SHOWN: dict[str, str] = {}
"""Families in no alert and no panel, with the reason."""


def promtool(*words: str) -> None:
    path = shutil.which("promtool")
    if path is None:
        pytest.skip("promtool is missing: install the Debian package prometheus")
    done = subprocess.run([path, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[:5000]


def alerts() -> list[str]:
    return re.findall(r"alert: (\w+)", RULES.read_text(encoding="utf-8"))


def test_promtool_takes_the_rules() -> None:
    promtool("check", "rules", str(RULES))


@pytest.mark.waits(20)
@pytest.mark.parametrize("site", SITES)
def test_a_week_of_ordinary_life_fires_nothing(tmp_path: Path, site: str) -> None:
    """Closing a laptop, a peer that leaves and one of two nodes that is killed fired alerts."""
    path = tmp_path / "week.yml"
    path.write_text(quiet_week(site), encoding="utf-8")
    promtool("test", "rules", str(path))


@pytest.mark.waits(20)
def test_each_trouble_fires_its_alert_and_no_other(tmp_path: Path) -> None:
    assert sorted(f"GossipControl{one}" for one in TROUBLES) == sorted(alerts())
    path = tmp_path / "troubles.yml"
    path.write_text(troubled_day(), encoding="utf-8")
    promtool("test", "rules", str(path))


@pytest.mark.parametrize("site", SITES)
def test_ordinary_life_has_what_frightened_the_alerts(site: str) -> None:
    """A week in which nobody came or went would be silent whatever the rules say."""
    series = live(SITES[site](), 7 * 24 * 60)

    def most(text: str) -> float:
        return max(value or 0 for key, values in series.items() if text in key for value in values)

    assert most('state="suspect"') >= 1
    assert most('state="offline"') >= 1
    assert most('state="left"') >= 1
    assert most("partitions") == 1
    assert most("pairs_unsynced") >= 1
    assert most('kind="isolated"') >= 1
    assert None in series['up{job="gossipcontrol",instance="i"}'] or 0 in series['up{job="gossipcontrol",instance="i"}']
    if site == "household":
        assert most("deaf_seconds") > 600, "everybody is out"


def test_values_are_packed_as_promtool_reads_them() -> None:
    assert packed([1, 1, 1, None, None, 2, 0.5]) == "1x2 _x2 2 0.5"


def test_each_alert_has_a_page_that_says_what_to_do() -> None:
    text = RULES.read_text(encoding="utf-8")
    pages = dict(re.findall(r"alert: (\w+)\n.*?runbook_url: (\S+)", text, re.DOTALL))
    assert list(pages) == alerts()
    for alert, page in pages.items():
        assert page == f"docs/runbooks/{alert}.md"
        written = (TOP / page).read_text(encoding="utf-8")
        assert tuple(re.findall(r"^## .*$", written, re.MULTILINE)) == HEADINGS, page
    assert {path.stem for path in (TOP / "docs" / "runbooks").iterdir()} == set(alerts())


def test_each_alert_has_a_severity_and_a_summary() -> None:
    text = RULES.read_text(encoding="utf-8")
    assert len(re.findall(r"severity: (?:critical|warning)\}", text)) == len(alerts())
    assert text.count("summary: ") == len(alerts())


def test_the_dashboard_is_made_from_the_metrics() -> None:
    made = dashboard(PAGE.read_text(encoding="utf-8"))
    assert DASHBOARD.read_text(encoding="utf-8") == made, "run python -m dev.dashboard"
    placed = [(one["gridPos"]["x"], one["gridPos"]["y"]) for one in json.loads(made)["panels"]]
    assert len(set(placed)) == len(placed), "no panel covers another"


def expressions() -> str:
    board: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return " ".join(target["expr"] for panel in board["panels"] for target in panel.get("targets", ()))


def test_promtool_understands_what_the_dashboard_asks(tmp_path: Path) -> None:
    board: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    asked = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    rules = [{"record": "asked", "expr": one.replace("$__rate_interval", "1m"), "labels": {"n": str(at)}}
             for at, one in enumerate(asked)]  # fmt: skip
    path = tmp_path / "asked.yml"
    path.write_text(json.dumps({"groups": [{"name": "asked", "rules": rules}]}), encoding="utf-8")
    promtool("check", "rules", str(path))


async def test_every_metric_is_shown_and_all_that_is_asked_for_exists(tmp_path: Path) -> None:
    async with serving(replace(config(tmp_path), metrics=Metrics(address="127.0.0.1:0"))) as service:
        page = await service.scrape()
    kinds = {name: kind for name, kind in re.findall(r"# TYPE (\w+) (\w+)", page) if name.startswith("gossipcontrol_")}
    there = {
        name + ending: name
        for name, kind in kinds.items()
        for ending in (("_bucket", "_sum", "_count") if kind == "histogram" else ("",))
    }
    asked = set(re.findall(r"gossipcontrol_\w+", expressions() + RULES.read_text(encoding="utf-8")))
    asked.discard("gossipcontrol_")
    assert asked <= there.keys(), asked - there.keys()
    shown = {there[one] for one in asked}
    ours = {name for name in kinds if not name.endswith("_created")}
    assert ours - shown == NOT_SHOWN.keys()
