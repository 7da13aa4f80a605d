"""Distillation: what a large network has learned, taught to a small one."""

from convnn.objectives.distillation.attention import attention_distillation, distilled_cross_entropy

__all__ = ["attention_distillation", "distilled_cross_entropy"]
