"""Files of flow: how far each pixel of an image moves, in the format of Middlebury or as an array of numpy."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convnn.data.images import BrokenImageError
from convnn.errors import InputError
from convnn.files import write_atomically

SUFFIXES = (".flo", ".npy")
MAGIC = b"PIEH"
"""The first bytes of a .flo file: 202021.25 as a float."""

HEADER = 12
UNKNOWN = 1e9
"""Larger numbers of a file mean that the motion is not known, as in Middlebury's."""


def read_flow(path: str | Path) -> tuple[Tensor, Tensor]:
    """Read a flow from a .flo file, or from a .npy file of shape (H, W, 2) or (2, H, W).

    Returns:
        The flow (2, H, W) float32, in pixels to the right and down, 0 where it is not known; and where it is known,
        (H, W) bool: NaN, infinite numbers and those above 1e9 mean that it is not.

    Raises:
        BrokenImageError: the file is missing, broken, or no flow, or none of it is known; the message names it.
        InputError: the suffix is another.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"the flow {path} must be a file that ends in {' or '.join(SUFFIXES)}")
    try:
        values = _read_flo(path) if path.suffix.lower() == ".flo" else _read_npy(path)
    except OSError as error:
        raise BrokenImageError(f"cannot read the flow {path}: {error.strerror or error}") from None
    flow = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
    known = (flow.isfinite() & (flow.abs() <= UNKNOWN)).all(0)
    if not bool(known.any()):
        raise BrokenImageError(f"the flow {path} is known of no pixel, so there is nothing to learn or to judge")
    return flow.where(known, 0.0), known


def write_flow(flow: Tensor, path: str | Path) -> None:
    """Write a flow (2, H, W) in the format of Middlebury.

    Raises:
        InputError: the flow has another shape, or the suffix is not .flo.
        OutputError: the file cannot be written.
    """
    if Path(path).suffix.lower() != ".flo":
        raise InputError(f"the flow {path} must be a file that ends in .flo")
    if flow.dim() != 3 or flow.shape[0] != 2:
        raise InputError(f"flow of shape {tuple(flow.shape)} must be (2, H, W)")
    size = np.array([flow.shape[2], flow.shape[1]], dtype="<i4").tobytes()
    values = flow.detach().cpu().permute(1, 2, 0).numpy().astype("<f4").tobytes()
    write_atomically(Path(path), MAGIC + size + values)


def _read_flo(path: Path) -> NDArray[Any]:
    content = path.read_bytes()
    if content[:4] != MAGIC or len(content) < HEADER:
        raise BrokenImageError(f"the flow {path} does not begin as a .flo file, with PIEH, its width and its height")
    width, height = np.frombuffer(content[4:HEADER], dtype="<i4").tolist()
    if min(width, height) < 1 or len(content) != HEADER + 8 * width * height:
        raise BrokenImageError(
            f"the flow {path} of {width}x{height} pixels must have {HEADER} + 8 x {width} x {height} bytes, not"
            f" {len(content):,}"
        )
    return np.frombuffer(content[HEADER:], dtype="<f4").reshape(height, width, 2).transpose(2, 0, 1)


def _read_npy(path: Path) -> NDArray[Any]:
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, EOFError):
        raise BrokenImageError(f"the flow {path} is no array that numpy reads") from None
    is_array = isinstance(values, np.ndarray) and values.ndim == 3 and values.size and values.dtype.kind in "fiu"
    if not is_array or 2 not in (values.shape[0], values.shape[2]):
        shape = getattr(values, "shape", ())
        raise BrokenImageError(
            f"the flow {path} of shape {shape} must be (H, W, 2) or (2, H, W), in pixels to the right and down"
        )
    return values.transpose(2, 0, 1) if values.shape[2] == 2 else values
