"""Schema changes at the target: run, proven, and told from what ran before."""
