"""Losses and schemes of training, as functions of tensors, whatever network they come from."""

from convnn.objectives.distillation import attention_distillation, distilled_cross_entropy

__all__ = ["attention_distillation", "distilled_cross_entropy"]
