"""Damaged files, and what the commands make of them: `python -m tests.fuzz --mutations 500`."""
