"""The table: one file per family, each with `ENTRIES` by the published names of layers.

`golden.entry.Entry` describes an entry; most only need to build the layer and name its parameters. If two systems have
layers of the same name, the key is `<folder of the system>/<name>`.
"""
