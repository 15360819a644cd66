"""What a command says where a package of an extra is missing."""

from __future__ import annotations


def missing_package(error: ModuleNotFoundError, extra: str) -> str:
    """The sentence that names the package, and how to install it."""
    return f"this command needs the package {error.name}: pip install 'gossipcontrol[{extra}]'"
