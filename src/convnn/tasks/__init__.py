"""Whole applications, made of the parts of all other rooms."""
