"""What all parameters have in common."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def check_positive(parameters: DataclassInstance) -> None:
    """Raise ValueError naming the first parameter that is not greater than 0."""
    for one in fields(parameters):
        if getattr(parameters, one.name) <= 0:
            raise ValueError(f"{one.name} must be greater than 0")
