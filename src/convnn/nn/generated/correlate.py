r"""Circular correlation by the Fourier transform, whose gradients are correlations too.

.. math:: y_{bo}(t) = \sum_{i, s} K_{oi}(s) \, x_{bi}(t + s), \qquad \hat y_{bo} = \sum_i \hat x_{bi} \hat K_{oi}^*

Between the spectra, its gradients are :math:`\hat g^x_{bi} = \sum_o \hat g_{bo} \hat K_{oi}` and
:math:`\hat g^K_{oi} = \sum_b \hat x_{bi} \hat g_{bo}^*`. Those that torch derives from its transforms of real numbers
compute complex ones of full length, which takes about twice as long.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.nn.generated import butterfly


class Layout(NamedTuple):
    """Where a map lies in its circle, and which part of the correlation is wanted, along each axis.

    Attributes:
        sizes: length of the circle.
        zeros: number of zeros before the map.
        starts: first position that is wanted.
        extents: number of positions.
        groups: number of blocks of channels that do not mix.
    """

    sizes: tuple[int, ...]
    zeros: tuple[int, ...]
    starts: tuple[int, ...]
    extents: tuple[int, ...]
    groups: int


class Transforms(NamedTuple):
    """A Fourier transform of real maps that end in axes of some sizes, and its inverse."""

    forward: Callable[[Tensor, Sequence[int]], Tensor]
    inverse: Callable[[Tensor, Sequence[int]], Tensor]


def _rfftn(x: Tensor, sizes: Sequence[int]) -> Tensor:
    return torch.fft.rfftn(x, s=list(sizes), dim=tuple(range(-len(sizes), 0)))


def _irfftn(x: Tensor, sizes: Sequence[int]) -> Tensor:
    return torch.fft.irfftn(x, s=list(sizes), dim=tuple(range(-len(sizes), 0)))


OF_TORCH, BUTTERFLY = Transforms(_rfftn, _irfftn), Transforms(butterfly.rfftn, butterfly.irfftn)


def correlate(x: Tensor, kernel: Tensor, layout: Layout) -> Tensor:
    r"""Return a part of the circular correlation of maps with a kernel.

    Args:
        x: maps (B, C_in, \*S), real.
        kernel: (C_out, C_in / groups, \*K), real, of the same type; no side is longer than the circle.
        layout: the circle and the part.

    Returns:
        (B, C_out, \*extents), a view of the whole circle.
    """
    has_gradient = torch.is_grad_enabled() and (x.requires_grad or kernel.requires_grad)
    if has_gradient and not (torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()):
        out: Tensor = _Correlation.apply(x, kernel, layout)
        return out
    return correlated(x, kernel, layout)


def correlated(x: Tensor, kernel: Tensor, layout: Layout, by: Transforms = OF_TORCH) -> Tensor:
    """Return the same by some transforms, with the gradients that follow from them."""
    product = _multiplied(
        by.forward(_placed(x, layout.zeros, layout.sizes), layout.sizes),
        by.forward(kernel, layout.sizes).conj(),
        layout.groups,
    )
    return _taken(by.inverse(product, layout.sizes), layout.starts, layout.extents)


class _Correlation(torch.autograd.Function):
    """`correlated` with its own gradients; those of the gradients are torch's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor, layout: Layout) -> Tensor:
        of_x, of_kernel = _spectra(x, kernel, layout)
        ctx.layout = layout
        ctx.save_for_forward(x, kernel)
        for_kernel, for_x = (
            (of_x if ctx.needs_input_grad[1] else None),
            (of_kernel if ctx.needs_input_grad[0] else None),
        )
        ctx.save_for_backward(x, kernel, for_kernel, for_x)
        product = _multiplied(of_x, of_kernel.conj(), layout.groups)
        return _taken(_irfftn(product, layout.sizes), layout.starts, layout.extents)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, Tensor | None, None]:
        x, kernel, of_x, of_kernel = ctx.saved_tensors
        layout: Layout = ctx.layout
        if torch.is_grad_enabled():  # gradients of gradients pass through the transforms of the inputs
            of_x, of_kernel = _spectra(x, kernel, layout)
        of_out = _rfftn(_placed(gradients[0], layout.starts, layout.sizes), layout.sizes)
        grad_x = grad_kernel = None
        if ctx.needs_input_grad[0]:
            product = _multiplied_back(of_out, of_kernel, layout.groups)
            grad_x = _taken(_irfftn(product, layout.sizes), layout.zeros, x.shape[2:]).contiguous()
        if ctx.needs_input_grad[1]:
            product = _summed(of_x, of_out.conj(), kernel.shape[1])
            grad_kernel = _taken(_irfftn(product, layout.sizes), (0,) * len(layout.sizes), kernel.shape[2:])
            grad_kernel = grad_kernel.contiguous()
        return grad_x, grad_kernel, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        x, kernel = ctx.saved_tensors[:2]
        along_x, along_kernel, _ = tangents
        parts = [] if along_x is None else [correlated(along_x, kernel, ctx.layout)]
        parts += [] if along_kernel is None else [correlated(x, along_kernel, ctx.layout)]
        return torch.stack(parts).sum(0)


def _spectra(x: Tensor, kernel: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    return _rfftn(_placed(x, layout.zeros, layout.sizes), layout.sizes), _rfftn(kernel, layout.sizes)


def _placed(x: Tensor, starts: Sequence[int], sizes: Sequence[int]) -> Tensor:
    """Lay maps into a circle of zeros; transforms add the zeros behind by themselves."""
    if not any(starts):
        return x
    margins = [(start, size - start - n) for start, size, n in zip(starts, sizes, x.shape[2:], strict=True)]
    return F.pad(x, [side for margin in reversed(margins) for side in margin])


def _taken(x: Tensor, starts: Sequence[int], extents: Sequence[int]) -> Tensor:
    for axis, (start, extent) in enumerate(zip(starts, extents, strict=True), 2):
        x = x.narrow(axis, start, extent)
    return x


def _multiplied(x: Tensor, kernel: Tensor, groups: int) -> Tensor:
    """Return the spectra (B, C_out, *F) from those of the map (B, C_in, *F) and kernel (C_out, C_in / groups, *F)."""
    if kernel.shape[1] == 1:
        x = x if kernel.shape[0] == groups else x.repeat_interleave(kernel.shape[0] // groups, dim=1)
        return x * kernel[:, 0]
    out = torch.einsum("bgif,goif->bgof", _in_groups(x, 1, groups), _in_groups(kernel, 0, groups))
    return out.flatten(1, 2).unflatten(2, x.shape[2:])


def _multiplied_back(out: Tensor, kernel: Tensor, groups: int) -> Tensor:
    """Return the spectra (B, C_in, *F) from those of the output (B, C_out, *F) and kernel."""
    if kernel.shape[1] == 1:
        products = out * kernel[:, 0]
        return products if kernel.shape[0] == groups else products.unflatten(1, (groups, -1)).sum(2)
    back = torch.einsum("bgof,goif->bgif", _in_groups(out, 1, groups), _in_groups(kernel, 0, groups))
    return back.flatten(1, 2).unflatten(2, out.shape[2:])


def _summed(x: Tensor, out: Tensor, per_group: int) -> Tensor:
    """Return the spectra (C_out, C_in / groups, *F) from those of the map and output, summed over the samples."""
    groups = x.shape[1] // per_group
    if per_group == 1:
        x = x if out.shape[1] == groups else x.repeat_interleave(out.shape[1] // groups, dim=1)
        return (x * out).sum(0).unsqueeze(1)
    summed = torch.einsum("bgif,bgof->goif", _in_groups(x, 1, groups), _in_groups(out, 1, groups))
    return summed.flatten(0, 1).unflatten(2, x.shape[2:])


def _in_groups(spectrum: Tensor, axis: int, groups: int) -> Tensor:
    """Return a spectrum with its frequencies in one axis, and the channels of an axis in groups."""
    return spectrum.flatten(2).unflatten(axis, (groups, -1))
