"""A seeded simulator of fleets around the real core: what a configuration does in a trouble, in virtual time."""
