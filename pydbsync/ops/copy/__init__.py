"""The initial copy: from an empty target to one that replay can go on from."""
