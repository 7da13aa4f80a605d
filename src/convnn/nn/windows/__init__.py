"""Layers on maps whose neighbours are fixed by place in a window."""
