"""The comparison of pydbsync with its peers on one machine: `python -m benchmarks`."""
