from convnn.data.images import denormalise, load_image
from convnn.data.interface import Batch, ImageData, Loader
from convnn.data.load import DATASETS, load_data
from convnn.data.options import ON_BAD_IMAGE

__all__ = ["DATASETS", "ON_BAD_IMAGE", "Batch", "ImageData", "Loader", "denormalise", "load_data", "load_image"]
