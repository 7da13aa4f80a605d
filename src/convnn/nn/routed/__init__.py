"""Layers on maps whose kernel depends on the input."""
