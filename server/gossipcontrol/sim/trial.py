"""A configuration to try, as the service reads it: only what decides counts."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from gossipcontrol.server.config import Config, ConfigError, read_config
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.core.presence.parameter import LivenessParameters


class ScenarioError(Exception):
    """A scenario, a record or a configuration cannot be used; the text names the key."""


@dataclass(frozen=True, slots=True)
class Trial:
    """The parameters of a run, and what it is called."""

    label: str
    deciding: Parameters = field(default_factory=Parameters)
    liveness: LivenessParameters = field(default_factory=LivenessParameters)


def read_trial(path: Path) -> Trial:
    """The sections ``deciding`` and ``liveness`` of a file of the service; raises ScenarioError."""
    try:
        config = read_config(path, _HOMELY)
    except ConfigError as error:
        raise ScenarioError("; ".join(error.mistakes)) from error
    return trial_of(path.stem, config)


def trial_of(label: str, config: Config) -> Trial:
    """What decides in a configuration."""
    return Trial(label, config.deciding, config.liveness)


_ROOT = Path(sys.executable).anchor
_HOMELY = {"HOME": _ROOT, "XDG_RUNTIME_DIR": _ROOT, "XDG_STATE_HOME": _ROOT}
"""An environment that changes no key: the variables of a running service are not those of the trial."""
