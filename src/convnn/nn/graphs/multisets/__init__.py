"""Layers that read all neighbours of a node at once."""
