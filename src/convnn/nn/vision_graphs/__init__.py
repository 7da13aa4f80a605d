"""Layers on maps whose neighbours form a graph: nearest by feature, axial, of learned degree, or all."""
