"""Video coding: clips to a stream of bytes and back, by a network that predicts each frame from the one before."""

from convnn.tasks.code.measures import Rates, evaluate, measured, ms_ssim, psnr
from convnn.tasks.code.picture import draw_coding
from convnn.tasks.code.stream import decode, encode
from convnn.tasks.code.training import train

__all__ = [
    "Rates",
    "decode",
    "draw_coding",
    "encode",
    "evaluate",
    "measured",
    "ms_ssim",
    "psnr",
    "train",
]
