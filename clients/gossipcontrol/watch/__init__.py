"""Watchers: what tells that a host's network changed, or that it slept."""
