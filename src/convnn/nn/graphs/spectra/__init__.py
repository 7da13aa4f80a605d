"""Layers that filter by polynomials and other functions of the graph's matrix."""
