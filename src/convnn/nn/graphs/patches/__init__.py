"""Patches of a graph as tokens: parts of its nodes with what is near them, encoded one by one, then mixed."""
