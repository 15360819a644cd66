"""What a bench prints: figures with their targets, for people or as one JSON object."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure."""

    value: float
    unit: str
    target: str | None = None
    met: bool | None = None


def show(name: str, figures: Mapping[str, Figure], as_json: bool) -> None:
    """Print the figures."""
    machine = {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()}
    if as_json:
        told = {key: asdict(figure) for key, figure in figures.items()}
        print(json.dumps({"bench": name, "machine": machine, "figures": told}))
        return
    for key, figure in figures.items():
        target = "" if figure.target is None else f"  (target {figure.target}: {'met' if figure.met else 'MISSED'})"
        print(f"{key:40} {figure.value:12,.2f} {figure.unit}{target}")
