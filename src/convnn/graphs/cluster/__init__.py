"""Nodes put into clusters by a network that reads their graph: connected where alike, or as several views agree."""

from convnn.graphs.cluster.connected import ClusteringGCN, cluster_loss, connected_clusters
from convnn.graphs.cluster.multi_view import MultiViewGraphClustering, View
from convnn.graphs.cluster.scores import Scores, b_cubed_scores, matched_accuracy, pairwise_scores

__all__ = [
    "ClusteringGCN",
    "MultiViewGraphClustering",
    "Scores",
    "View",
    "b_cubed_scores",
    "cluster_loss",
    "connected_clusters",
    "matched_accuracy",
    "pairwise_scores",
]
