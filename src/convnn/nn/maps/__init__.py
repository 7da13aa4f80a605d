"""Layers on maps (B, C, *S)."""
