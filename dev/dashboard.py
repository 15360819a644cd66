"""Writes deploy/grafana/gossipcontrol.json from the tables of docs/metrics.md: python -m dev.dashboard.

Each section is a row, and each metric a panel: rates of counters, quantiles of histograms, values of gauges.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

TOP = Path(__file__).parents[1]
PAGE = TOP / "docs" / "metrics.md"
DASHBOARD = TOP / "deploy" / "grafana" / "gossipcontrol.json"
ROW = re.compile(r"^\| `(gossipcontrol_\w+)` \| (\w+) \| ([^|]+?) \| ([^|]*?) ?\|$")
ITEM = re.compile(r"^- ((?:`gossipcontrol_\w+`(?:, )?)+): (.*?)(?=^- |^#|\Z)", re.MULTILINE | re.DOTALL)
UNITS = {"s": "s", "bytes": "bytes"}
"""Grafana's names of units; everything else is a number."""
WIDTH, HEIGHT, COLUMNS = 8, 7, 3
QUANTILES = (0.5, 0.95, 0.99)
BIG = 50
"""Bounds of labels: a panel shows so many series at most."""
ORDER = ("Presence and diagnosis", "Triggers and rejoins", "Nodes and stores", "Service", "Memory", "Knowledge")
"""What people look at first comes first."""


class Family(NamedTuple):
    """One metric, as its table has it."""

    name: str
    kind: str
    unit: str
    labels: tuple[str, ...]
    text: str
    """What it means."""


def families(page: str) -> dict[str, list[Family]]:
    """The metrics by section."""
    texts = {
        one: " ".join(text.split())
        for names, text in ITEM.findall(page)
        for one in re.findall(r"gossipcontrol_\w+", names)
    }
    found: dict[str, list[Family]] = {}
    section = ""
    for line in page.splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
        elif row := ROW.match(line):
            name, kind, unit, labels = row.groups()
            family = Family(name, kind, unit, tuple(re.findall(r"`(\w+)`", labels)), texts.get(name, ""))
            found.setdefault(section, []).append(family)
    return found


def targets(family: Family) -> list[dict[str, str]]:
    """What a panel asks for."""
    by = f" by ({', '.join(family.labels)})" if family.labels else ""
    legend = " ".join(f"{{{{{label}}}}}" for label in family.labels) or title(family)
    if family.kind == "histogram":
        rate = f"sum by (le) (rate({family.name}_bucket[$__rate_interval]))"
        asked = [(f"histogram_quantile({share:g}, {rate})", f"p{share * 100:g}") for share in QUANTILES]
    elif family.kind == "counter":
        asked = [(f"topk({BIG}, sum{by} (rate({family.name}[$__rate_interval])) > 0)", legend)]
    elif family.labels:
        asked = [(f"topk({BIG}, sum{by} ({family.name}))", legend)]
    else:
        asked = [(f"sum by (instance) ({family.name})", "{{instance}}")]
    return [{"refId": chr(65 + at), "expr": expr, "legendFormat": name} for at, (expr, name) in enumerate(asked)]


def title(family: Family) -> str:
    """A metric's name in words."""
    words = family.name.removeprefix("gossipcontrol_")
    for ending in ("_total", "_seconds", "_bytes"):
        words = words.removesuffix(ending)
    return words.replace("_", " ").capitalize()


def panel(number: int, family: Family, x: int, y: int) -> dict[str, Any]:
    """One panel."""
    unit = UNITS.get(family.unit, "short")
    return {
        "id": number,
        "title": title(family) + (" per second" if family.kind == "counter" else ""),
        "description": family.text,
        "type": "timeseries",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": {"h": HEIGHT, "w": WIDTH, "x": x, "y": y},
        "fieldConfig": {
            "defaults": {"unit": "short" if family.kind == "counter" else unit, "min": 0},
            "overrides": [],
        },
        "targets": targets(family),
    }


def panels(sections: dict[str, list[Family]]) -> list[dict[str, Any]]:
    """A row for each section, and its panels below."""
    made: list[dict[str, Any]] = []
    y = 0
    for section in sorted(sections, key=lambda one: ORDER.index(one) if one in ORDER else len(ORDER)):
        grid = {"h": 1, "w": WIDTH * COLUMNS, "x": 0, "y": y}
        made.append({"id": len(made) + 1, "title": section, "type": "row", "gridPos": grid, "panels": []})
        y += 1
        for at, family in enumerate(sections[section]):
            row, column = divmod(at, COLUMNS)
            made.append(panel(len(made) + 1, family, column * WIDTH, y + row * HEIGHT))
        y += -(-len(sections[section]) // COLUMNS) * HEIGHT
    return made


def dashboard(page: str) -> str:
    """The dashboard of these metrics, as JSON."""
    source = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
    made = {
        "uid": "gossipcontrol",
        "title": "GossipControl",
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "10s",
        "tags": ["gossipcontrol"],
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [source]},
        "panels": panels(families(page)),
    }
    return json.dumps(made, indent=1) + "\n"


if __name__ == "__main__":
    DASHBOARD.write_text(dashboard(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
