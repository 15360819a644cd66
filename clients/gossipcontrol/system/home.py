"""The user's home directory, where there is one."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path


def home_directory(environ: Mapping[str, str] | None = None) -> Path | None:
    """HOME, else what the user database says; None for a user without either, as containers have them."""
    environ = os.environ if environ is None else environ
    named = environ.get("HOME") or _registered_home()
    return Path(named) if named and Path(named).is_absolute() else None


def user_directory(variable: str, environ: Mapping[str, str] | None = None) -> Path | None:
    """The directory that an XDG variable names, else ``~/.local/state``; None when neither is known.

    A relative path is ignored, as the XDG base directory specification wants it.
    """
    environ = os.environ if environ is None else environ
    named = environ.get(variable, "")
    if Path(named).is_absolute():
        return Path(named)
    home = home_directory(environ)
    return None if home is None else home / ".local/state"


def _registered_home() -> str | None:
    """What the user database says of this user."""
    if sys.platform == "win32":
        return os.environ.get("USERPROFILE")
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return None
