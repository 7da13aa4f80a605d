"""Hierarchical networks: four stages of blocks on maps of a quarter, an eighth, ... of the image's sides."""
