"""Makes rows that differ equal again, by a plan that can be read, applied and undone."""
