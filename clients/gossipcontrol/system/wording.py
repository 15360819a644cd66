"""Words that the service and the command line share."""

from __future__ import annotations

import math


def try_again(retry_in: float) -> str:
    """When to try again, in whole seconds: rounded up, because an earlier retry would be in vain."""
    return f"try again in {math.ceil(round(retry_in, 3))} s"
