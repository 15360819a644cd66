"""The user's home directory, where there is one, and where the user's files belong."""

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
    """The directory that an XDG variable names, else the system's for a user's files; None when neither is known.

    That is LOCALAPPDATA on Windows, which nobody else but administrators can read, else ``~/.local/state``. A relative
    path is ignored, as the XDG base directory specification wants it.
    """
    environ = os.environ if environ is None else environ
    for named in (environ.get(variable, ""), environ.get("LOCALAPPDATA", "") if sys.platform == "win32" else ""):
        if Path(named).is_absolute():
            return Path(named)
    home = home_directory(environ)
    return None if home is None else home / STATE


if sys.platform == "win32":
    STATE = "AppData/Local"

    def is_root() -> bool:
        """There is no such user: a service of the system has a directory of its own, as every user has."""
        return False

    def user_name() -> str:
        """Name of the user who runs this, for people."""
        return os.environ.get("USERNAME", "")

    def _registered_home() -> str | None:
        """Where the system says that this user's files are."""
        return os.environ.get("USERPROFILE")

else:
    import pwd

    STATE = ".local/state"

    def is_root() -> bool:
        """Whether this process may use the directories of the system."""
        return os.geteuid() == 0

    def user_name() -> str:
        """Number of the user who runs this: the user database may not know a name."""
        return str(os.geteuid())

    def _registered_home() -> str | None:
        """What the user database says of this user."""
        try:
            return pwd.getpwuid(os.geteuid()).pw_dir
        except KeyError:
            return None
