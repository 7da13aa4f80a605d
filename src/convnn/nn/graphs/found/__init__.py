"""Layers on maps and tokens by the graph that a search finds, and ConvNN on a given one."""
