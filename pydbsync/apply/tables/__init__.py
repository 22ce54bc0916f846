"""The tables of the state schema, one module each, and how they came to be what they are."""
