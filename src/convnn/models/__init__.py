"""Networks that can be built of any layer."""

from convnn.models._network import Network
from convnn.models._registry import create_model, describe_model, list_models, register_model
from convnn.models.densenet import DenseNet, densenet121
from convnn.models.resnet import ResNet, resnet18, resnet34
from convnn.models.vgg import VGG, vgg11, vgg13, vgg16, vgg19

__all__ = [
    "VGG",
    "DenseNet",
    "Network",
    "ResNet",
    "create_model",
    "densenet121",
    "describe_model",
    "list_models",
    "register_model",
    "resnet18",
    "resnet34",
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg19",
]
