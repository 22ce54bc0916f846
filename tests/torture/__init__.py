"""Faults at random moments under a known load, then a comparison row by row: `python -m tests.torture`."""
