"""Whole applications of the parts."""
