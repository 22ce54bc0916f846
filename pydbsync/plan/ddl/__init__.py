"""Statements: read, understood, rewritten for the target, and what must hold for them to count as done."""
