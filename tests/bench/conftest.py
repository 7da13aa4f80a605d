collect_ignore_glob = ["planted/*", "foreign/*", "definitions/*"]
"""Kernels that cheat, which no test may import."""
