"""The log behind the core: backends behind one interface."""
