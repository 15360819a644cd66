"""What every bench prints: figures with their units and targets, in words or as one JSON object."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number. ``better`` says on which side of its target it should be."""

    name: str
    value: float
    unit: str
    target: float | None = None
    better: Literal["at most", "at least"] = "at most"

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None when there is none."""
        if self.target is None:
            return None
        return self.value <= self.target if self.better == "at most" else self.value >= self.target


def machine() -> dict[str, str | int]:
    """What the figures were measured on."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": platform.machine(),
        "cores": os.cpu_count() or 0,
        "python": platform.python_version(),
    }


def show(name: str, figures: Sequence[Figure], as_json: bool) -> None:
    """Print the figures of one bench."""
    if as_json:
        told = {
            one.name: {"value": one.value, "unit": one.unit, "target": one.target, "met": one.met} for one in figures
        }
        print(json.dumps({"bench": name, "machine": machine(), "figures": told}))
        return
    for one in figures:
        target = "" if one.target is None else f"  ({one.better} {one.target:g}: {'met' if one.met else 'NOT MET'})"
        print(f"{one.name:40} {one.value:12.6g} {one.unit}{target}")
