from convnn.data.graphs import GraphData, list_graph_datasets, load_graph
from convnn.data.images import FITS, denormalise, load_image
from convnn.data.interface import Batch, ImageData, ImagePart, Loader
from convnn.data.load import DATASETS, load_data, load_part
from convnn.data.options import ON_BAD_IMAGE
from convnn.data.sequences import SequenceData, Sequences, list_sequence_datasets, load_sequences
from convnn.data.sources import KNOWN_SHAPES

__all__ = [
    "DATASETS",
    "FITS",
    "KNOWN_SHAPES",
    "ON_BAD_IMAGE",
    "Batch",
    "GraphData",
    "ImageData",
    "ImagePart",
    "Loader",
    "SequenceData",
    "Sequences",
    "denormalise",
    "list_graph_datasets",
    "list_sequence_datasets",
    "load_data",
    "load_graph",
    "load_image",
    "load_part",
    "load_sequences",
]
