"""Whether the target is equal to the source: structure and rows, while changes flow."""
