"""Scene graphs, generated: which objects there are, where their boxes lie, and how they relate."""

from convnn.tasks.generate.scene_graphs.learning import train
from convnn.tasks.generate.scene_graphs.measures import compare, degree_shares, maximum_mean_discrepancy, share_right
from convnn.tasks.generate.scene_graphs.picture import draw_scene_graphs

__all__ = [
    "compare",
    "degree_shares",
    "draw_scene_graphs",
    "maximum_mean_discrepancy",
    "share_right",
    "train",
]
