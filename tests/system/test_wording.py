"""Words that the service and the command line share."""

from __future__ import annotations

import pytest
from gossipcontrol.system.wording import try_again


@pytest.mark.parametrize(
    ("retry_in", "shown"), [(599.986, 600), (0.2, 1), (1.0, 1), (1.01, 2), (60.00000001, 60), (86_400.0, 86_400)]
)
def test_a_retry_is_shown_in_whole_seconds_never_too_early(retry_in: float, shown: int) -> None:
    assert try_again(retry_in) == f"try again in {shown} s"
