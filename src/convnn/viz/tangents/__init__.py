"""Tangent kernels in pictures, tables and on a page."""
