"""Layers that can be undone, and tell by how much they stretch the volume."""
