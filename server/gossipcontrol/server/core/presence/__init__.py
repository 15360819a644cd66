"""Presence: who is online in a store, fused over all observers. Soft state, never logged."""
