"""From changes to SQL: pure functions, no server."""
