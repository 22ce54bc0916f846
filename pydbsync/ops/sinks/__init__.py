"""The operator's tools where the target is no MySQL, and has rows that can be read back."""
