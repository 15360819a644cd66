"""The pure core: events in, effects out; no IO, no clock, no randomness."""
