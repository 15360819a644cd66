"""How a bench shows its figures: a table for people, one JSON object for programs."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass

import click


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value; with a target, whether at least (or ``most``: at most) that was reached."""

    value: float
    unit: str
    target: float | None = None
    most: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the target was met; None without one."""
        if self.target is None:
            return None
        return self.value <= self.target if self.most else self.value >= self.target


def show(name: str, figures: Mapping[str, Figure], as_json: bool) -> None:
    """Print the figures of a bench."""
    if as_json:
        document = {"bench": name, "machine": machine(), "figures": {key: _plain(one) for key, one in figures.items()}}
        click.echo(json.dumps(document, indent=2))
        return
    for key, one in figures.items():
        target = "" if one.target is None else f"   target {'<=' if one.most else '>='} {one.target:,g}"
        verdict = {None: "", True: ", met", False: ", MISSED"}[one.met]
        click.echo(f"{key:<44} {_rounded(one.value):>14,g} {one.unit}{target}{verdict}")


def machine() -> dict[str, str | int]:
    """Where it was measured."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": platform.machine(),
        "cpus": os.cpu_count() or 0,
        "python": platform.python_version(),
    }


def _plain(one: Figure) -> dict[str, float | str | bool | None]:
    return {"value": _rounded(one.value), "unit": one.unit, "target": one.target, "met": one.met}


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
