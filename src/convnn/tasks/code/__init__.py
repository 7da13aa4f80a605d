"""Video coding: clips to a stream of bytes and back, by a network that predicts each frame from the one before."""

from convnn.tasks.code.clips import Clips, moving_clips, moving_crops, padded, read_clip, read_clips, write_frames
from convnn.tasks.code.measures import Rates, evaluate, ms_ssim, psnr
from convnn.tasks.code.picture import draw_coding
from convnn.tasks.code.stream import decode, encode
from convnn.tasks.code.training import train

__all__ = [
    "Clips",
    "Rates",
    "decode",
    "draw_coding",
    "encode",
    "evaluate",
    "moving_clips",
    "moving_crops",
    "ms_ssim",
    "padded",
    "psnr",
    "read_clip",
    "read_clips",
    "train",
    "write_frames",
]
