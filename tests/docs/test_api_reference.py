"""docs/api.md says what the .proto files say."""

from __future__ import annotations

from gossipcontrol.server.app import SERVICES

from dev.api_reference import PAGE, descriptors, reference


def test_the_api_reference_is_that_of_the_protos() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(descriptors()), "run python -m dev.api_reference"


def test_it_has_every_service() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name in SERVICES if f"### Service {name.rpartition('.')[2]}\n" not in page] == []
