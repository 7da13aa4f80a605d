"""Self-training: labels, links and helper tasks that a network gets from what it has.

A scheme (`CrossView`, `GrowingLabels`, `HelperTask`) is a module with what it learns besides the network. Its `steps`
yields, for each step of an epoch, the terms of a loss by name, whose sum is to be made smaller.
"""

from convnn.objectives.self_training._network import NodeNetwork
from convnn.objectives.self_training.cross_view import CrossView, HadamardMLP, link_loss, sample_absent_links
from convnn.objectives.self_training.helper_tasks import (
    HelperTask,
    MultiTaskGCN,
    cluster_pseudo_labels,
    completion_target,
    helper_loss,
    without_self,
)
from convnn.objectives.self_training.multi_stage import M3S, GrowingLabels
from convnn.objectives.self_training.pseudo_labels import align_clusters, select_confident, stage_quota

__all__ = [
    "M3S",
    "CrossView",
    "GrowingLabels",
    "HadamardMLP",
    "HelperTask",
    "MultiTaskGCN",
    "NodeNetwork",
    "align_clusters",
    "cluster_pseudo_labels",
    "completion_target",
    "helper_loss",
    "link_loss",
    "sample_absent_links",
    "select_confident",
    "stage_quota",
    "without_self",
]
