"""Whole applications of the layers, networks and searches: what follows training."""
