"""Contrast: rows that belong together attract each other, and all others repel."""

from convnn.objectives.contrastive.engine import Pairs
from convnn.objectives.contrastive.info_nce import (
    InfoNCE,
    info_nce,
    kernel_info_nce,
    similarity_info_nce,
    spectral_contrast,
)
from convnn.objectives.contrastive.scores import ArcCosine, Cosine, Distance, Mixture

__all__ = [
    "ArcCosine",
    "Cosine",
    "Distance",
    "InfoNCE",
    "Mixture",
    "Pairs",
    "info_nce",
    "kernel_info_nce",
    "similarity_info_nce",
    "spectral_contrast",
]
