"""Networks for skeletons in motion: persons (B, C, T, V, M) to classes."""

from convnn.models.skeletons.hyper_gcn import HyperGCN, hyper_gcn_base, hyper_gcn_large

__all__ = ["HyperGCN", "hyper_gcn_base", "hyper_gcn_large"]
