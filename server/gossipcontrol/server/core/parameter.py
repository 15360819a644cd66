"""What all parameters have in common."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def check_positive(parameters: DataclassInstance, *, may_be_zero: str = "") -> None:
    """Raise ValueError naming the first parameter that is not greater than 0, or below 0 for the one that may be 0."""
    for one in fields(parameters):
        value = getattr(parameters, one.name)
        if one.name == may_be_zero and value < 0:
            raise ValueError(f"{one.name} must not be less than 0")
        if one.name != may_be_zero and value <= 0:
            raise ValueError(f"{one.name} must be greater than 0")
