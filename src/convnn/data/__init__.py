from convnn.data.images import FITS, denormalise, load_image
from convnn.data.interface import Batch, ImageData, ImagePart, Loader
from convnn.data.load import DATASETS, load_data, load_part
from convnn.data.options import ON_BAD_IMAGE
from convnn.data.sources import KNOWN_SHAPES

__all__ = [
    "DATASETS",
    "FITS",
    "KNOWN_SHAPES",
    "ON_BAD_IMAGE",
    "Batch",
    "ImageData",
    "ImagePart",
    "Loader",
    "denormalise",
    "load_data",
    "load_image",
    "load_part",
]
