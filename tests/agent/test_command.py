"""The command line of the reference node: what it refuses before it starts a node."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

pytest.importorskip("iroh", reason="needs the extra: pip install 'gossipcontrol[iroh]'")
from gossipcontrol.agent.command import iroh


def test_a_store_that_the_service_would_not_take_is_a_mistake_in_the_command() -> None:
    result = CliRunner().invoke(iroh, ["--store", "a", "--store", "s" * 129])
    assert result.exit_code == 2
    assert "--store: the id must have 1 to 128 bytes in UTF-8, has 129" in result.output
