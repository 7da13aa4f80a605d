"""Several runs side by side: curves, table, page."""
