"""Layers that sum, average or otherwise aggregate the features of the neighbours."""
