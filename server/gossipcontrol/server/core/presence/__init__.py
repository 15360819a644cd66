"""Presence: who is online in a store, fused over all observers; nothing of it is logged."""
