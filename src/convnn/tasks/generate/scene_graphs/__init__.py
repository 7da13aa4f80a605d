"""Scene graphs, generated: which objects there are, where their boxes lie, and how they relate."""

from convnn.tasks.generate.scene_graphs.diffusion import SceneGraphDiffusion, train
from convnn.tasks.generate.scene_graphs.files import read_scene_graphs, write_scene_graphs
from convnn.tasks.generate.scene_graphs.graphs import SPATIAL, SceneGraphs, spatial_relations
from convnn.tasks.generate.scene_graphs.made import make_scene_graphs, size_of
from convnn.tasks.generate.scene_graphs.measures import compare, degree_shares, maximum_mean_discrepancy, share_right
from convnn.tasks.generate.scene_graphs.picture import draw_scene_graphs

__all__ = [
    "SPATIAL",
    "SceneGraphDiffusion",
    "SceneGraphs",
    "compare",
    "degree_shares",
    "draw_scene_graphs",
    "make_scene_graphs",
    "maximum_mean_discrepancy",
    "read_scene_graphs",
    "share_right",
    "size_of",
    "spatial_relations",
    "train",
    "write_scene_graphs",
]
