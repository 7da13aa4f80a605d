"""Layers on graphs in time: snapshots of a graph that changes, and skeletons that move."""
