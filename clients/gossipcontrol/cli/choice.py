"""Words that several commands accept, and what they mean."""

from __future__ import annotations

import click
from gossipcontrol.client.enumeration import Cause, ChangeKind, Outcome

CAUSES = {str(cause): cause for cause in Cause}
KINDS = {
    "network-change": ChangeKind.CHANGED,
    "resume": ChangeKind.RESUMED,
    "app-foreground": ChangeKind.FOREGROUND,
}
"""Causes that are reported as changes of a host or node."""
CALLER_CAUSES = ("isolated", "manual", "suspicion")
"""Causes that a caller may give; only the service detects rot and partitions."""
OUTCOMES = {str(outcome): outcome for outcome in Outcome}
SECONDS = click.FloatRange(0, 1e9)
