"""Measurements: each module measures one thing and prints a table."""
