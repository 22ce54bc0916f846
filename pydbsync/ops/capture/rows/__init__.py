"""From row images to Maxwell's JSON: pure functions of bytes and a table's definition."""
