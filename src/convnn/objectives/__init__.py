"""Losses and schemes of training, as functions of tensors, whatever network they come from."""

from convnn.objectives.distillation import (
    CSKD,
    LayerOutputs,
    OFADistillation,
    attention_distillation,
    cskd_loss,
    deit_distillation,
    dense_responses,
    distilled_cross_entropy,
    fuse_responses,
    fusion_ratio,
    logit_distillation,
    make_projector,
    ofa_loss,
)

__all__ = [
    "CSKD",
    "LayerOutputs",
    "OFADistillation",
    "attention_distillation",
    "cskd_loss",
    "deit_distillation",
    "dense_responses",
    "distilled_cross_entropy",
    "fuse_responses",
    "fusion_ratio",
    "logit_distillation",
    "make_projector",
    "ofa_loss",
]
