"""The table: one file a family, each with `ENTRIES`, by the published names of layers.

`golden.entry.Entry` says what an entry is; most need how to build the layer and what its parameters are called here.
Where two systems have layers of one name, the key is `<folder of the system>/<name>`.
"""
