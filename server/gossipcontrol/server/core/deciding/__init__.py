"""Deciding which trigger starts which rejoin, and when."""
