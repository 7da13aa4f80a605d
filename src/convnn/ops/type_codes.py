"""Types, such as categories of objects, as real numbers that noise can be added to, and back."""

import torch
from torch import Tensor

from convnn.errors import InputError, check_at_least, check_choice

CODES = ("scalar", "bits", "one_hot")


def code_channels(num_types: int, code: str) -> int:
    r"""Return how many numbers code a type: 1, :math:`\lceil \log_2 K \rceil` or K.

    Args:
        num_types: K, at least 2.
        code: "scalar", "bits" or "one_hot".

    Raises:
        InputError: an argument is out of range.
    """
    check_at_least("num_types", num_types, 2)
    check_choice("code", code, CODES)
    return {"scalar": 1, "bits": (num_types - 1).bit_length(), "one_hot": num_types}[code]


def encode_types(
    types: Tensor, num_types: int, code: str = "bits", dim: int = -1, *, dtype: torch.dtype | None = None
) -> Tensor:
    r"""Return the numbers from -1 to 1 that code types 0, ..., K - 1.

    - scalar: :math:`2 i / (K - 1) - 1`
    - bits: the binary digits of i, the highest first, as -1 and 1
    - one_hot: 1 at i, and -1 elsewhere

    Args:
        types: (*S) whole numbers.
        num_types: K, at least 2.
        code: one of the three.
        dim: where the axis of the code is in the result.
        dtype: data type of the result; None is the default one.

    Returns:
        *S with `code_channels` more.

    Raises:
        InputError: a type is no whole number from 0 to K - 1, or an argument is out of range.

    Reference:
        Chen, Zhang and Hinton, "Analog Bits", arXiv 2208.04202, section 2, for bits; the others as in DiffuseSG,
        arXiv 2401.01130.

    Example:
        >>> encode_types(torch.tensor([0, 4]), 6, "bits")
        tensor([[-1., -1., -1.],
                [ 1., -1., -1.]])
    """
    channels = code_channels(num_types, code)
    if types.is_floating_point() or types.is_complex() or types.dtype == torch.bool:
        raise InputError(f"types of {types.dtype} must be whole numbers, such as types.long()")
    if types.numel() and not 0 <= int(types.min()) <= int(types.max()) < num_types:
        wrong = int(types.min()) if types.min() < 0 else int(types.max())
        raise InputError(f"type {wrong} must be from 0 to {num_types - 1}, since num_types={num_types}")
    real = dtype or torch.get_default_dtype()
    if code == "scalar":
        numbers = types.to(real).unsqueeze(-1) * (2 / (num_types - 1)) - 1
    elif code == "bits":
        numbers = 2 * ((types.unsqueeze(-1) >> _places(channels, types.device)) & 1).to(real) - 1
    else:
        numbers = 2 * (types.unsqueeze(-1) == torch.arange(num_types, device=types.device)).to(real) - 1
    return numbers.movedim(-1, dim)


def decode_types(numbers: Tensor, num_types: int, code: str = "bits", dim: int = -1) -> Tensor:
    r"""Return the types, int64, whose codes are near the numbers along an axis.

    - scalar: the nearest level, of two the lower, :math:`\lceil (a + 1)(K - 1) / 2 - 1 / 2 \rceil`, from 0 to K - 1
    - bits: the digits are 1 where the number is above 0; what is more than K - 1 is K - 1
    - one_hot: the largest number, of several the first

    Args:
        numbers: the axis `dim` has `code_channels`.
        num_types: K, at least 2.
        code: "scalar", "bits" or "one_hot".
        dim: the axis of the code.

    Raises:
        InputError: the axis has another length, or an argument is out of range.
    """
    channels = code_channels(num_types, code)
    if numbers.shape[dim] != channels:
        raise InputError(
            f"numbers of shape {tuple(numbers.shape)} must have {channels} along axis {dim}, the code {code!r} of"
            f" {num_types} types"
        )
    last = numbers.movedim(dim, -1)
    if code == "scalar":
        return ((last.squeeze(-1) + 1) * ((num_types - 1) / 2) - 0.5).ceil().clamp(0, num_types - 1).long()
    if code == "bits":
        return ((last > 0).long() << _places(channels, numbers.device)).sum(-1).clamp_max(num_types - 1)
    return last.argmax(-1)


def _places(channels: int, device: torch.device) -> Tensor:
    return torch.arange(channels - 1, -1, -1, device=device)
