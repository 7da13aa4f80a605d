"""The values of settings of this room that are words: flags list them without importing the layers."""

DAMPINGS = ("none", "dirichlet", "fejer", "jackson", "lanczos", "lorentz", "vekic", "wang")
HOMOPHILIES = ("auto", "high", "low")
POWER_DAMPINGS = ("exp", "lin")
HOLO_BASES = ("powers", "resolvent")
SUPPORTS = ("dense", "sparse")
ORTHONORMAL = ("bjorck", "matrix_exp", "cayley", "householder")
