"""The log behind the core: one file per backend behind one interface."""
