"""What touches the target: rows, checkpoint and parked changes in one transaction."""
