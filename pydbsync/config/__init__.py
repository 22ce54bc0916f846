"""Facts about the run: what the operator wrote, as checked and frozen values."""
