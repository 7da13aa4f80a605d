"""How far the layers of a network look: effective receptive fields, measured, as a table, drawn."""
