"""Kernels in the frequency domain: the spectrum of a weight, disjoint groups of its frequencies, mixtures of these."""

from functools import reduce

import torch
from torch import Tensor

from convnn.errors import InputError


def spectrum_size(out_channels: int, in_channels: int, kernel_size: int) -> tuple[int, int]:
    """Return the number of rows and columns of the spectrum of a weight (C_out, C_in, k, k)."""
    return out_channels * kernel_size, in_channels * kernel_size // 2 + 1


def spectrum_of(weight: Tensor) -> Tensor:
    r"""Return the Fourier transform of a weight laid out as one image.

    Row o k + i and column c k + j of the image have the weight of output o, input c, row i and column j of the window.

    Args:
        weight: (C_out, C_in, k, k).

    Returns:
        (C_out k, C_in k // 2 + 1, 2): real and imaginary parts of the real transform.
    """
    image = weight.permute(0, 2, 1, 3).flatten(2).flatten(0, 1)
    return torch.view_as_real(torch.fft.rfft2(image))


def weights_of(spectra: Tensor, in_channels: int, kernel_size: int) -> Tensor:
    """Return the weights (N, C_out, C_in, k, k) of spectra (N, C_out k, C_in k // 2 + 1, 2)."""
    complex_ = torch.view_as_complex(spectra.contiguous())
    images = torch.fft.irfft2(complex_, s=(spectra.shape[1], in_channels * kernel_size))
    return images.unflatten(2, (in_channels, -1)).unflatten(1, (-1, kernel_size)).transpose(2, 3)


def frequency_groups(rows: int, columns: int, number: int) -> Tensor:
    """Divide the frequencies of a spectrum into groups of equal size, from low to high.

    Frequencies are sorted by their distance from 0, in cycles per position, those of equal distance by row and column.
    Distances are compared as whole numbers, so that the groups are the same on every machine.

    Args:
        rows: number of rows of the spectrum.
        columns: number of positions along the rows of the image; the spectrum has columns // 2 + 1.
        number: number of groups.

    Returns:
        (rows, columns // 2 + 1): the group of each frequency, int64.

    Raises:
        InputError: the groups would differ in size.
    """
    total = rows * (columns // 2 + 1)
    if number < 1 or total % number:
        raise InputError(f"frequency_groups={number} must divide the {total:,} frequencies of a kernel of this size")
    down, right = torch.arange(rows), torch.arange(columns // 2 + 1)
    down = torch.minimum(down, rows - down)
    distance = (down * columns).square().unsqueeze(1) + (right * rows).square()
    order = distance.flatten().argsort(stable=True)
    groups = torch.empty_like(order)
    groups[order] = torch.arange(total) // (total // number)
    return groups.view(rows, -1)


def transformed(spectrum: Tensor, groups: Tensor, shares: Tensor, in_channels: int, kernel_size: int) -> Tensor:
    r"""Return the weight of every sample, in which each group of frequencies has a share of its own.

    .. math:: w_b = F^{-1} \Big( \sum_r s_{br g(f)} \, Z_r(f) \Big)

    Args:
        spectrum: Z (R, C_out k, C_in k // 2 + 1, 2).
        groups: g (R, C_out k, C_in k // 2 + 1), the group of each frequency.
        shares: s (B, R, groups).
        in_channels: C_in.
        kernel_size: k.

    Returns:
        (B, C_out, k, k, C_in).
    """
    of_each = [
        shares[:, r].index_select(1, one.flatten()).view(-1, *one.shape, 1) * spectrum[r]
        for r, one in enumerate(groups)
    ]
    return weights_of(reduce(torch.add, of_each), in_channels, kernel_size).movedim(2, 4)


def group_weights(spectrum: Tensor, groups: Tensor, number: int, in_channels: int, kernel_size: int) -> Tensor:
    """Return the weights (R number, C_out, k, k, C_in) of single groups of frequencies, whose sums are `transformed`.

    The transform is linear, so the weight of a sample is the sum of these in its shares. With more samples than groups
    of all spectra, these are fewer transforms.
    """
    belongs = groups.unsqueeze(1) == torch.arange(number, device=groups.device).view(-1, 1, 1)
    parts = (belongs.unsqueeze(-1) * spectrum.unsqueeze(1)).flatten(0, 1)
    return weights_of(parts, in_channels, kernel_size).movedim(2, 4).contiguous()
