"""Nodes put into clusters by a network that reads their graph: connected where alike, or as several views agree."""

from convnn.graphs.cluster.connected import ClusteringGCN, cluster_loss, connected_clusters
from convnn.graphs.cluster.multi_view import MultiViewGraphClustering, View

__all__ = [
    "ClusteringGCN",
    "MultiViewGraphClustering",
    "View",
    "cluster_loss",
    "connected_clusters",
]
