"""From the bytes of the binlog to events with their places."""
