"""The configuration file that is shipped."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

from gossipcontrol.server.config import Config, read_config

SHIPPED = Path(__file__).parents[2] / "deploy" / "gossipcontrol.toml"


def test_it_names_every_key_with_its_default() -> None:
    config = read_config(SHIPPED, {})
    default = Config()
    # Two paths follow the user; the file names root's.
    listen = replace(config.listen, socket=default.listen.socket)
    state = replace(config.state, path=default.state.path)
    assert replace(config, listen=listen, state=state) == default
    text = SHIPPED.read_text(encoding="utf-8")
    for section in fields(config):
        for key in fields(getattr(config, section.name)):
            assert f"\n{key.name} = " in text, (section.name, key.name)
