"""What choosing neighbours costs: `python -m benchmarks`."""
