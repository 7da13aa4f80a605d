"""What the neighbours of every layer are like over many images: measured, as a table, drawn."""
