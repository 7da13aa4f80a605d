"""Comparison of several runs: curves, table, page."""
