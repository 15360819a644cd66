"""The alerts and the dashboard that are shipped: they say what they should, of metrics that exist."""

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

from tests.kit.service_lab import config, serving

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "gossipcontrol.rules"
DASHBOARD = DEPLOY / "grafana" / "gossipcontrol.json"
SCENES = Path(__file__).with_name("alerts.yml")


def promtool(*words: str) -> None:
    path = shutil.which("promtool")
    if path is None:
        pytest.skip("promtool is missing: install the Debian package prometheus")
    done = subprocess.run([path, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_the_rules() -> None:
    promtool("check", "rules", str(RULES))


def test_every_alert_fires_for_what_it_names_and_for_nothing_else(tmp_path: Path) -> None:
    scenes = SCENES.read_text(encoding="utf-8")
    alerts = re.findall(r"alert: (\w+)", RULES.read_text(encoding="utf-8"))
    assert len(alerts) >= 9
    for alert in alerts:
        assert scenes.count(alert) == 2, f"{alert} is in a quiet scene, where it must be silent, and in a loud one"
    path = tmp_path / "alerts.yml"
    path.write_text(scenes.replace("${RULES}", str(RULES)), encoding="utf-8")
    promtool("test", "rules", str(path))


async def test_they_ask_for_metrics_that_exist(tmp_path: Path) -> None:
    async with serving(replace(config(tmp_path), metrics=Metrics(address="127.0.0.1:0"))) as service:
        page = await service.scrape()
    kinds = dict(re.findall(r"# TYPE (\w+) (\w+)", page))
    there = {
        name + ending
        for name, kind in kinds.items()
        for ending in (("_bucket", "_sum", "_count") if kind == "histogram" else ("",))
    }
    dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(expressions) >= len(dashboard["panels"]) >= 10
    asked = set(re.findall(r"gossipcontrol_\w+", " ".join(expressions)))
    asked |= set(re.findall(r"gossipcontrol_\w+", RULES.read_text(encoding="utf-8")))
    assert asked <= there, asked - there


async def test_every_family_is_in_an_alert_or_a_panel_or_there_is_a_reason(tmp_path: Path) -> None:
    async with serving(replace(config(tmp_path), metrics=Metrics(address="127.0.0.1:0"))) as service:
        families = set(re.findall(r"# TYPE (gossipcontrol_\w+)", await service.scrape()))
    dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    asked = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    names = re.findall(r"gossipcontrol_\w+", asked + RULES.read_text(encoding="utf-8"))
    used = {re.sub(r"_(bucket|sum|count)$", "", name) for name in names} | set(names)
    document = (DEPLOY.parent / "docs" / "metrics.md").read_text(encoding="utf-8")
    reasons = document.partition("## In no alert and no panel")[2].partition("\n## ")[0]
    excused = dict(re.findall(r"^\| `(gossipcontrol_\w+)` \| (.+) \|$", reasons, re.MULTILINE))
    assert sorted(families - used - excused.keys()) == [], "neither asked for nor excused"
    assert sorted(excused.keys() - families) == [], "excused, but not there"
