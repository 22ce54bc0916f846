"""Processes: a run, its workers and their supervisor, what they log and what they show."""
