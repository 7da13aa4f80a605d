"""Benchmarks of the cost of choosing neighbours: `python -m benchmarks`."""
