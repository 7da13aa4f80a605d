"""Contrast: rows that belong together attract each other, and all others repel."""

from convnn.objectives.contrastive.cross_domain import CoCoLoss, cross_branch_loss, cross_domain_loss
from convnn.objectives.contrastive.engine import Pairs
from convnn.objectives.contrastive.info_nce import (
    InfoNCE,
    info_nce,
    kernel_info_nce,
    similarity_info_nce,
    spectral_contrast,
)
from convnn.objectives.contrastive.matching import common_nce_loss, pair_confidence, quadratic_contrast_loss
from convnn.objectives.contrastive.neighbor_contrast import (
    SCGC,
    Autoencoder,
    SCGCLoss,
    clustering_kl,
    neighbor_contrast,
)
from convnn.objectives.contrastive.scores import ArcCosine, Cosine, Distance, Mixture
from convnn.objectives.contrastive.supervised import supervised_contrast
from convnn.objectives.contrastive.team_up import CSGCLLoss, team_up_gamma, team_up_loss

__all__ = [
    "SCGC",
    "ArcCosine",
    "Autoencoder",
    "CSGCLLoss",
    "CoCoLoss",
    "Cosine",
    "Distance",
    "InfoNCE",
    "Mixture",
    "Pairs",
    "SCGCLoss",
    "clustering_kl",
    "common_nce_loss",
    "cross_branch_loss",
    "cross_domain_loss",
    "info_nce",
    "kernel_info_nce",
    "neighbor_contrast",
    "pair_confidence",
    "quadratic_contrast_loss",
    "similarity_info_nce",
    "spectral_contrast",
    "supervised_contrast",
    "team_up_gamma",
    "team_up_loss",
]
