"""SIGHUP: what of a configuration can change while the service runs, and what waits for a restart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, NamedTuple

from gossipcontrol.server.access.identity_limits import IdentityLimits
from gossipcontrol.server.config import Config, ConfigError
from gossipcontrol.server.observe.log import Logger

LIVE = frozenset(
    {
        "log.level",
        "log.format",
        "limits.watchers",
        "limits.drain",
        "retry.attempts",
        "retry.base",
        "retry.cap",
        *(f"identity_limits.{key}" for key in IdentityLimits().by_key),
    }
)
"""Keys that can change. The others are in the state that a run begins with, in gRPC, or in sockets that are open."""


class Change(NamedTuple):
    """One key with a new value."""

    key: str
    old: Any
    new: Any


def changes(old: Config, new: Config) -> list[Change]:
    """The keys whose values differ."""
    found: list[Change] = []
    for section in fields(Config):
        before, after = getattr(old, section.name), getattr(new, section.name)
        for key in fields(before):
            was, becomes = getattr(before, key.name), getattr(after, key.name)
            if was != becomes:
                found.append(Change(f"{section.name}.{key.name}", was, becomes))
    return found


def with_changes(config: Config, wanted: list[Change]) -> Config:
    """A configuration in which these keys have their new values."""
    for change in wanted:
        section, _, key = change.key.partition(".")
        config = replace(config, **{section: replace(getattr(config, section), **{key: change.new})})
    return config


class Reloader:
    """Reads the configuration again, applies what can change, and says the rest; a broken file changes nothing."""

    def __init__(
        self, config: Config, read: Callable[[], Config], apply: Callable[[Config], None], log: Logger
    ) -> None:
        self._config = config
        self._read = read
        self._apply = apply
        self._log = log

    def reload(self) -> None:
        """Do so; what needs a restart is said again at every reload until then."""
        try:
            found = changes(self._config, self._read())
        except ConfigError as error:
            for mistake in error.mistakes:
                self._log.error("configuration not reloaded", mistake=mistake)
            return
        live = [change for change in found if change.key in LIVE]
        self._config = with_changes(self._config, live)
        self._apply(self._config)
        for change in found:
            if change.key in LIVE:
                self._log.warning("configuration changed", key=change.key, old=change.old, new=change.new)
            else:
                self._log.warning("restart needed", key=change.key, runs_with=change.old, file_says=change.new)
        self._log.info("configuration reloaded", changed=len(live), restart=len(found) - len(live))
