"""Segmentation: which class every position of a map has."""
