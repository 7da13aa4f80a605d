"""Whom every position of an image chooses: looked up, drawn as a sheet, written as a page."""
