"""Contrast: rows that belong together attract each other, and all others repel."""

from convnn.objectives.contrastive.engine import Pairs
from convnn.objectives.contrastive.info_nce import (
    InfoNCE,
    info_nce,
    kernel_info_nce,
    similarity_info_nce,
    spectral_contrast,
)
from convnn.objectives.contrastive.neighbor_contrast import (
    SCGC,
    Autoencoder,
    SCGCLoss,
    clustering_kl,
    neighbor_contrast,
)
from convnn.objectives.contrastive.scores import ArcCosine, Cosine, Distance, Mixture

__all__ = [
    "SCGC",
    "ArcCosine",
    "Autoencoder",
    "Cosine",
    "Distance",
    "InfoNCE",
    "Mixture",
    "Pairs",
    "SCGCLoss",
    "clustering_kl",
    "info_nce",
    "kernel_info_nce",
    "neighbor_contrast",
    "similarity_info_nce",
    "spectral_contrast",
]
