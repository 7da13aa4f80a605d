"""Matching: which place of one image, or which node of one graph, is which of another."""
