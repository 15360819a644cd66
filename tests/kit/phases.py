"""Hypothesis phases for properties whose examples take long."""

from __future__ import annotations

from hypothesis import Phase

NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)
"""Shrinking a long run would take minutes, and the seed of a failing run says enough."""
