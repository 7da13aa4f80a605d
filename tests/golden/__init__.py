"""Numbers of published code, and the table of how each of its layers is built here.

`entries/` is the table: for each published layer name, how to build the layer, the names of its parameters here, its
input tensors and its output tensors. `files/` holds compact copies. `PYTHONPATH=tests python -m golden FOLDER...`
compares any folder.
"""
