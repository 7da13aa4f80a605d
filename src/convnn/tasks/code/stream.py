"""Streams: the symbols of a clip as bytes, by a range coder, and the clip again from the bytes.

A stream is b"CVNC", a version, the number of frames and the sides of a frame, for each frame a length and its bytes,
and a checksum of the decoded frames. Writing and reading take the same steps of the network, so that both have the same
probabilities; on a machine that rounds in another way a decoder may not, which the checksum tells.
"""

import struct
import zlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convnn.errors import InputError
from convnn.models.coding import VideoCodec, padded
from convnn.models.coding.dcvc import STEP
from convnn.nn.compression import FactorizedBits
from convnn.packages import need

MAGIC, VERSION = b"CVNC", 1
HEADER = struct.Struct("<4sBHHH")
COUNT = struct.Struct("<I")
LARGEST = 1023
"""Symbols beyond this are cut; so are means."""
LARGEST_FACTORIZED = 31
MEANS_IN_ONE, SCALES_IN_E = 64, 8
"""Means and logarithms of scales are rounded to these shares: what differs in the last bit is then the same."""


class RangeCoder:
    """The symbols of one frame on their way to bytes, or from them.

    Args:
        content: the bytes to read; None writes.
    """

    def __init__(self, content: bytes | None = None) -> None:
        coding: Any = need("constriction", "a stream of a clip", extra="coding").stream
        self.models, self.writes = coding.model, content is None
        self.laplacian = coding.model.QuantizedLaplace(-LARGEST, LARGEST)
        words = np.frombuffer(b"" if content is None else content, dtype="<u4").astype(np.uint32)
        self.queue: Any = coding.queue.RangeEncoder() if content is None else coding.queue.RangeDecoder(words)

    def laplace(self, symbols: Tensor | None, means: Tensor, scales: Tensor) -> Tensor:
        """Write or read integers (N,) of Laplace distributions with means and positive scales (N,)."""
        middle = (means.double() * MEANS_IN_ONE).round().div(MEANS_IN_ONE).clamp(-LARGEST, LARGEST).numpy()
        width = (scales.double().log() * SCALES_IN_E).round().div(SCALES_IN_E).exp().numpy()
        kept = None if symbols is None else symbols.clamp(-LARGEST, LARGEST)
        return self._through(kept, self.laplacian, middle, width).to(means)

    def factorized(self, symbols: Tensor | None, bits: FactorizedBits, size: tuple[int, int]) -> Tensor:
        """Write or read integers (1, C, H, W), whose channels have distributions of their own."""
        channels = bits.slope.shape[1]
        values = torch.arange(-LARGEST_FACTORIZED, LARGEST_FACTORIZED + 1).to(bits.slope)
        table = bits.probability(values.view(1, 1, 1, -1).expand(1, channels, 1, -1))[0, :, 0].double()
        table = (table * 2**16).round().clamp_min(1)  # whole numbers: what differs in the last bit is then the same
        rows = (table / table.sum(1, keepdim=True)).float().repeat_interleave(size[0] * size[1], 0).numpy()
        model = self.models.Categorical(perfect=False)
        places = None if symbols is None else symbols.flatten().clamp(-LARGEST_FACTORIZED, LARGEST_FACTORIZED)
        found = self._through(None if places is None else places + LARGEST_FACTORIZED, model, rows)
        return (found - LARGEST_FACTORIZED).to(bits.slope).view(1, channels, *size)

    def _through(self, symbols: Tensor | None, model: Any, *parameters: NDArray[Any]) -> Tensor:
        if not self.writes:
            return torch.from_numpy(self.queue.decode(model, *parameters))
        if symbols is None:
            raise InputError("symbols=None can be read, but not written; pass the frame")
        self.queue.encode(symbols.to(torch.int32).numpy(), model, *parameters)
        return symbols

    def content(self) -> bytes:
        """Return what has been written."""
        return self.queue.get_compressed().astype("<u4").tobytes()


def encode(codec: VideoCodec, clip: Tensor) -> tuple[bytes, Tensor]:
    """Write a clip as a stream.

    Args:
        codec: the network, on the CPU.
        clip: (T, 3, H, W) with values from 0 to 1, of any size.

    Returns:
        The stream, and the frames as the decoder will have them, (T, 3, H, W).

    Raises:
        InputError: the clip has another shape or too many frames or pixels, or the range coder is not installed.
    """
    if clip.dim() != 4 or clip.shape[1] != 3 or not 0 < min(clip.shape) or max(clip.shape) >= 2**16:
        raise InputError(f"clip of shape {tuple(clip.shape)} must be (T, 3, H, W), each from 1 to 65,535")
    height, width = clip.shape[2:]
    parts = [HEADER.pack(MAGIC, VERSION, clip.shape[0], height, width)]
    large, frames = padded(clip), []
    codec.eval()
    reference = None
    for x in large.split(1):
        coder = RangeCoder()
        reference = codec.code_frame(coder, (large.shape[2], large.shape[3]), x, reference)
        content = coder.content()
        parts += [COUNT.pack(len(content)), content]
        frames.append(reference[..., :height, :width])
    found = torch.cat(frames)
    return b"".join([*parts, COUNT.pack(checksum(found))]), found


def decode(codec: VideoCodec, stream: bytes) -> Tensor:
    """Read the clip (T, 3, H, W) of a stream.

    Args:
        codec: the network that wrote it, on the CPU.
        stream: what `encode` returned.

    Raises:
        InputError: the stream is none of ours, or is cut off, or was written by another network or on a machine that
            computes otherwise; or the range coder is not installed.
    """
    blocks, (height, width), expected = _unpacked(stream)
    codec.eval()
    size = (height + -height % STEP, width + -width % STEP)
    frames, reference = [], None
    for content in blocks:
        try:
            reference = codec.code_frame(RangeCoder(content), size, None, reference)
        except (AssertionError, ValueError) as error:  # what the range coder says of bytes that fit no symbol
            raise InputError(f"stream cannot be decoded by this network: {error}") from None
        frames.append(reference[..., :height, :width])
    found = torch.cat(frames)
    if checksum(found) != expected:
        raise InputError(
            "stream was written by another network, or on a machine that computes otherwise: the decoded frames differ"
        )
    return found


def _unpacked(stream: bytes) -> tuple[list[bytes], tuple[int, int], int]:
    """Return the bytes of each frame, the sides of a frame, and the checksum."""
    if len(stream) < HEADER.size or not stream.startswith(MAGIC):
        raise InputError("stream does not begin as those of convnn code encode do; name a file that this has written")
    _, version, count, height, width = HEADER.unpack_from(stream)
    if version != VERSION:
        raise InputError(f"stream has version {version}, but this reads version {VERSION}; a later convnn wrote it")
    place, blocks = HEADER.size, []
    try:
        for _ in range(count):
            (length,) = COUNT.unpack_from(stream, place)
            place += COUNT.size
            blocks.append(stream[place : place + length])
            place += length
        (expected,) = COUNT.unpack_from(stream, place)
    except struct.error:
        raise InputError(f"stream of {len(stream)} bytes is cut off; copy the whole file again") from None
    return blocks, (height, width), expected


def checksum(frames: Tensor) -> int:
    """Return the CRC-32 of frames of 8 bits."""
    return zlib.crc32((255 * frames).round().to(torch.uint8).contiguous().numpy().tobytes())
