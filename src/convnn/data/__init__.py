from convnn.data.images import denormalise, load_image
from convnn.data.interface import Batch, ImageData, Loader
from convnn.data.load import DATASETS, load_data

__all__ = ["DATASETS", "Batch", "ImageData", "Loader", "denormalise", "load_data", "load_image"]
