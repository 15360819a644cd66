"""The constraints with hashes that users install with: the tested set, whole."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

TOP = Path(__file__).parents[2]
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text("utf-8"))["project"]
HASHED = (TOP / "deploy" / "constraints.txt").read_text("utf-8")


def pins(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==([^ \n]+)", text, re.MULTILINE))


def test_they_are_the_locked_versions() -> None:
    locked = pins((TOP / "requirements.lock").read_text("utf-8"))
    assert pins(HASHED) == {name: version for name, version in locked.items() if name != "iroh"}


def test_every_pin_has_hashes() -> None:
    parts = re.split(r"^(?=[a-z])", HASHED, flags=re.MULTILINE)[1:]
    assert len(parts) == len(pins(HASHED))
    for part in parts:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", part), part


def test_the_metadata_bounds_every_dependency_and_takes_the_pins() -> None:
    found = pins(HASHED)
    for line in PROJECT["dependencies"]:
        requirement = Requirement(line)
        operators = {one.operator for one in requirement.specifier}
        assert operators == {">=", "<"}, line
        assert found[requirement.name] in requirement.specifier, line
