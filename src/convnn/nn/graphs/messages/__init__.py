"""Layers whose messages depend on both ends of an edge, or on more than features."""
