"""Distillation: what a large network has learned, taught to a small one."""

from convnn.objectives.distillation.attention import attention_distillation, distilled_cross_entropy
from convnn.objectives.distillation.logits import deit_distillation, logit_distillation
from convnn.objectives.distillation.one_for_all import OFADistillation, ofa_loss
from convnn.objectives.distillation.outputs import LayerOutputs
from convnn.objectives.distillation.projectors import (
    PatchMerging,
    TokenProjector,
    guess_class_tokens,
    make_projector,
    map_projector,
)
from convnn.objectives.distillation.spatial import (
    CSKD,
    cskd_loss,
    dense_responses,
    fuse_responses,
    fusion_ratio,
)

__all__ = [
    "CSKD",
    "LayerOutputs",
    "OFADistillation",
    "PatchMerging",
    "TokenProjector",
    "attention_distillation",
    "cskd_loss",
    "deit_distillation",
    "dense_responses",
    "distilled_cross_entropy",
    "fuse_responses",
    "fusion_ratio",
    "guess_class_tokens",
    "logit_distillation",
    "make_projector",
    "map_projector",
    "ofa_loss",
]
