"""Losses and schemes of training, as functions of tensors."""
