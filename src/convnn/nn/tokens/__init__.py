"""Layers on sequences of tokens (B, T, D)."""
