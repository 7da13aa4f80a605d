"""Layers whose kernel is a function of the offset, and the long convolutions that apply it."""
