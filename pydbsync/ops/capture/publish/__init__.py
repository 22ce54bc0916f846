"""Where messages go, and how they are known to have arrived."""
