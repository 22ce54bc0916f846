"""The operator's tools where the target is Redis."""
