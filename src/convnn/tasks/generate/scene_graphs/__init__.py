"""Scene graphs, generated: which objects there are, where their boxes lie, and how they relate."""

from convnn.data.scene_graphs import (
    from_geometric,
    make_scene_graphs,
    read_scene_graphs,
    size_of,
    write_scene_graphs,
)
from convnn.models.scene_graphs import SceneGraphDiffusion
from convnn.ops.scene_graphs import SPATIAL, SceneGraphs, spatial_relations
from convnn.tasks.generate.scene_graphs.learning import train
from convnn.tasks.generate.scene_graphs.measures import compare, degree_shares, maximum_mean_discrepancy, share_right
from convnn.tasks.generate.scene_graphs.picture import draw_scene_graphs

__all__ = [
    "SPATIAL",
    "SceneGraphDiffusion",
    "SceneGraphs",
    "compare",
    "degree_shares",
    "draw_scene_graphs",
    "from_geometric",
    "make_scene_graphs",
    "maximum_mean_discrepancy",
    "read_scene_graphs",
    "share_right",
    "size_of",
    "spatial_relations",
    "train",
    "write_scene_graphs",
]
