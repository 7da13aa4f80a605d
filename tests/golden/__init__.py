"""Numbers of published code, and the one table that says how each of its layers is built here.

`entries/` is the table: of the published name of a layer, how to build it, what its parameters are called here, which
tensors go in and which come out. `files/` are compact copies. `PYTHONPATH=tests python -m golden FOLDER...` compares
any folder.
"""
