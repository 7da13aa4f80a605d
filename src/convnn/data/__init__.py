from convnn.data.graphs import GraphData, list_graph_datasets, load_graph
from convnn.data.images import FITS, denormalise, load_image
from convnn.data.interactions import Interactions, read_interactions
from convnn.data.interface import Batch, LabelledData, LabelledPart, Loader, example_of, kind_of
from convnn.data.load import DATASETS, load_data, load_part
from convnn.data.options import (
    GRAPH_SETS,
    IMAGE_SETS,
    INTERACTION_SETS,
    ON_BAD_IMAGE,
    PIXEL_VALUES,
    RASTERS,
    READERS,
    REGRESSIONS,
    SEGMENTATION_SETS,
    SIGNALS,
    TRIPLE_SETS,
    UNLABELLED_SETS,
    VOLUME_SETS,
)
from convnn.data.sources import KNOWN_SHAPES

__all__ = [
    "DATASETS",
    "FITS",
    "GRAPH_SETS",
    "IMAGE_SETS",
    "INTERACTION_SETS",
    "KNOWN_SHAPES",
    "ON_BAD_IMAGE",
    "PIXEL_VALUES",
    "RASTERS",
    "READERS",
    "REGRESSIONS",
    "SEGMENTATION_SETS",
    "SIGNALS",
    "TRIPLE_SETS",
    "UNLABELLED_SETS",
    "VOLUME_SETS",
    "Batch",
    "GraphData",
    "Interactions",
    "LabelledData",
    "LabelledPart",
    "Loader",
    "denormalise",
    "example_of",
    "kind_of",
    "list_graph_datasets",
    "load_data",
    "load_graph",
    "load_image",
    "load_part",
    "read_interactions",
]
