"""Drivers carry out a rejoin: one file each behind one interface."""
