"""The neighbours of every position of an image: search, sheet and interactive page."""
