"""Which changes go where."""
