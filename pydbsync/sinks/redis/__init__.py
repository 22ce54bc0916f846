"""Rows as keys of Redis or Valkey, each fenced by the place of its change."""
