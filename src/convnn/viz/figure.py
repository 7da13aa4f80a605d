"""What pictures outside of this room share with those inside: colours, style, titles, and how figures are written."""

from convnn.viz._figure import COLORS, FAINT, INK, SUFFIXES, own_style, save_figure, write_plainly, write_title

__all__ = ["COLORS", "FAINT", "INK", "SUFFIXES", "own_style", "save_figure", "write_plainly", "write_title"]
