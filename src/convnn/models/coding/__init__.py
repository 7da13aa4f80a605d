"""Networks for video coding: clips to a stream of bits and back."""

from convnn.models.coding.dcvc import CODINGS, DCVC, CodedFrame
from convnn.models.coding.latents import PRIORS, HyperLatent
from convnn.models.coding.network import CodecNetwork, dcvc
from convnn.models.coding.spynet import SpyNet
from convnn.models.coding.start import calibrate
from convnn.models.coding.video import VideoCodec, padded

__all__ = [
    "CODINGS",
    "DCVC",
    "PRIORS",
    "CodecNetwork",
    "CodedFrame",
    "HyperLatent",
    "SpyNet",
    "VideoCodec",
    "calibrate",
    "dcvc",
    "padded",
]
