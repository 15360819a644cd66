"""The enums of the core have the names and numbers of the contract, so that they need no translation."""

from __future__ import annotations

import importlib
import pkgutil
from enum import IntEnum
from typing import Any

import gossipcontrol.v1
import pytest
from gossipcontrol.server import core

CONTRACT_NAMES = {"Outcome": "RejoinOutcome", "ChangeKind": "NetworkChangeKind"}
"""Core enums whose name in the contract differs."""
INTERNAL = {"Move", "State"}
"""Core enums that never leave it: see ``lifecycle``."""
NOT_IN_CORE = {"Path", "Platform", "ReplicaRole"}
"""Enums of the contract that the core does not need: they end at the edge."""


def core_enums() -> dict[str, type[IntEnum]]:
    """Every IntEnum defined in a module of the core, by its name in the contract."""
    found: dict[str, type[IntEnum]] = {}
    for info in pkgutil.walk_packages(core.__path__, core.__name__ + "."):
        module = importlib.import_module(info.name)
        for one in vars(module).values():
            if isinstance(one, type) and issubclass(one, IntEnum) and one.__module__ == info.name:
                if one.__name__ in INTERNAL:
                    continue
                found[CONTRACT_NAMES.get(one.__name__, one.__name__)] = one
    return found


def contract_enums() -> dict[str, dict[str, int]]:
    """Every top-level enum of ``gossipcontrol.v1``: its values without prefix, and without the unspecified zero."""
    found: dict[str, dict[str, int]] = {}
    for info in pkgutil.iter_modules(gossipcontrol.v1.__path__):
        if info.name.endswith("_pb2"):
            descriptor: Any = importlib.import_module(f"gossipcontrol.v1.{info.name}").DESCRIPTOR
            for name, enum in descriptor.enum_types_by_name.items():
                zero = enum.values_by_number[0].name
                prefix = zero.removesuffix("UNSPECIFIED")
                found[name] = {one.name.removeprefix(prefix): one.number for one in enum.values if one.number}
    return found


CORE, CONTRACT = core_enums(), contract_enums()


@pytest.mark.parametrize("name", sorted(CORE))
def test_an_enum_of_the_core_has_the_names_and_numbers_of_the_contract(name: str) -> None:
    assert {one.name: one.value for one in CORE[name]} == CONTRACT[name]


def test_every_enum_of_the_contract_is_compared_unless_the_core_does_without_it() -> None:
    assert CONTRACT.keys() - CORE.keys() == NOT_IN_CORE
