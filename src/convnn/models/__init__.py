"""Networks that can be built with any layer."""

from convnn.models._network import Network
from convnn.models._registry import (
    check_layer,
    check_model,
    create_model,
    default_layer,
    describe_model,
    list_models,
    model_settings,
    register_model,
)
from convnn.models.convmixer import (
    ConvMixer,
    convmixer_256_16,
    convmixer_768_32,
    convmixer_1024_20,
    convmixer_1536_20,
)
from convnn.models.densenet import DenseNet, densenet121
from convnn.models.external import ExternalNetwork, is_external
from convnn.models.mobilevig import (
    GreedyViG,
    MobileViGv2,
    greedyvig_b,
    greedyvig_m,
    greedyvig_s,
    mobilevigv2_b,
    mobilevigv2_m,
    mobilevigv2_s,
    mobilevigv2_ti,
)
from convnn.models.resnet import ResNet, resnet18, resnet34
from convnn.models.se_resnet import (
    SEResNet,
    se_resnet_d_2,
    se_resnet_d_3,
    se_resnet_d_4,
    se_resnet_d_6,
    se_resnet_d_8,
    se_resnet_d_10,
)
from convnn.models.vgg import VGG, vgg11, vgg13, vgg16, vgg19
from convnn.models.vit import ViT, vit, vit_base, vit_small, vit_tiny

__all__ = [
    "VGG",
    "ConvMixer",
    "DenseNet",
    "ExternalNetwork",
    "GreedyViG",
    "MobileViGv2",
    "Network",
    "ResNet",
    "SEResNet",
    "ViT",
    "check_layer",
    "check_model",
    "convmixer_256_16",
    "convmixer_768_32",
    "convmixer_1024_20",
    "convmixer_1536_20",
    "create_model",
    "default_layer",
    "densenet121",
    "describe_model",
    "greedyvig_b",
    "greedyvig_m",
    "greedyvig_s",
    "is_external",
    "list_models",
    "mobilevigv2_b",
    "mobilevigv2_m",
    "mobilevigv2_s",
    "mobilevigv2_ti",
    "model_settings",
    "register_model",
    "resnet18",
    "resnet34",
    "se_resnet_d_2",
    "se_resnet_d_3",
    "se_resnet_d_4",
    "se_resnet_d_6",
    "se_resnet_d_8",
    "se_resnet_d_10",
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg19",
    "vit",
    "vit_base",
    "vit_small",
    "vit_tiny",
]
