"""Scene graphs: made on the spot, of files, of PyTorch Geometric; `loader` makes data sets of them."""

from convnn.data.scene_graphs.files import read_scene_graphs, read_scene_parts, write_scene_graphs
from convnn.data.scene_graphs.geometric import from_geometric
from convnn.data.scene_graphs.made import make_scene_graphs, size_of

__all__ = [
    "from_geometric",
    "make_scene_graphs",
    "read_scene_graphs",
    "read_scene_parts",
    "size_of",
    "write_scene_graphs",
]
