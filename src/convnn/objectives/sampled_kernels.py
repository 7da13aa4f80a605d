"""Penalties on kernels that a network has generated: on their values, and on frequencies beyond their sampling."""

from collections.abc import Callable, Mapping
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from convnn.errors import InputError
from convnn.nn import GaborKernel, GaussianMask, GeneratedConv, MaskedKernel


class Sampled(NamedTuple):
    """A kernel as a layer has applied it.

    Attributes:
        layer: the convolution.
        kernel: (C_out, C_in / groups, *K), with its gradient.
        size: sides of the map.
    """

    layer: GeneratedConv
    kernel: Tensor
    size: tuple[int, ...]


class SampledKernels:
    """Keeps the kernels that a network generates in a forward pass until they are taken, so that none is made twice.

    A layer that runs several times in a forward pass gives its last kernel. The network itself is not changed.

    Args:
        network: any module.

    Raises:
        InputError: the network has no layer with a generated kernel.

    Example:
        >>> from convnn.nn import CKConv1d
        >>> network = nn.Sequential(CKConv1d(1, 4, horizon=9), nn.ReLU(), CKConv1d(4, 2, horizon=5))
        >>> sampled = SampledKernels(network)
        >>> _ = network(torch.randn(3, 1, 20))
        >>> kernels = sampled.take()
        >>> {name: tuple(one.kernel.shape) for name, one in kernels.items()}
        {'0.operator': (4, 1, 9), '2.operator': (2, 4, 5)}
        >>> kernel_decay(kernels).backward()
        >>> sampled.remove()
    """

    def __init__(self, network: nn.Module) -> None:
        self.layers = {name: part for name, part in network.named_modules() if isinstance(part, GeneratedConv)}
        if not self.layers:
            raise InputError(
                f"network={type(network).__name__} has no layer with a generated kernel, such as CKConv or FlexConv"
            )
        self._sizes: dict[str, tuple[int, ...]] = {}
        self._kernels: dict[str, Tensor] = {}
        self._handles: list[RemovableHandle] = []
        for name, layer in self.layers.items():
            self._handles.append(layer.register_forward_pre_hook(self._size_keeper(name)))
            self._handles.append(layer.dropout.register_forward_hook(self._kernel_keeper(name)))

    def _size_keeper(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def keep(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self._sizes[name] = tuple(inputs[0].shape[2:])

        return keep

    def _kernel_keeper(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def keep(_module: nn.Module, _inputs: tuple[Tensor, ...], kernel: Tensor) -> None:
            self._kernels[name] = kernel

        return keep

    def take(self) -> dict[str, Sampled]:
        """Return the kernels of the last forward pass by the names of their layers, and forget them.

        Raises:
            InputError: a layer has computed no kernel since they were last taken; in evaluation it keeps an older one.
        """
        kernels, self._kernels = self._kernels, {}
        for name in self.layers:
            if name not in kernels:
                raise InputError(f"layer {name!r} has sampled no kernel; run the network in training mode first")
        return {name: Sampled(layer, kernels[name], self._sizes[name]) for name, layer in self.layers.items()}

    def remove(self) -> None:
        """Keep no further kernels."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._kernels = {}


def kernel_decay(sampled: Mapping[str, Sampled]) -> Tensor:
    r"""Return the norms of sampled kernels and of their biases, summed over the layers.

    .. math:: \sum_{\text{layers}} \lVert K \rVert_2 + \lVert b \rVert_2

    It takes the place of weight decay: small weights of a network that computes a kernel do not make the kernel small.
    The norms are not squared, and the kernel is the one that was applied, after dropout. Where K is 0, so is the
    gradient.

    Args:
        sampled: the kernels of a forward pass, from `SampledKernels`.

    Returns:
        ().

    Reference:
        Romero et al., "CKConv: Continuous Kernel Convolution For Sequential Data", arXiv 2102.02611, and its code.
    """
    norms = []
    for layer, kernel, _ in sampled.values():
        norms.append(torch.linalg.vector_norm(kernel))
        if layer.bias is not None:
            norms.append(torch.linalg.vector_norm(layer.bias))
    return torch.stack(norms).sum()


def nyquist_penalty(sampled: Mapping[str, Sampled], *, deviations: float = 2.0, with_masks: bool = False) -> Tensor:
    r"""Return how far the frequencies of kernels of Gabor filters exceed what their taps represent, in squares.

    .. math:: \sum_{\text{layers}} \sum_{l = 0}^{L} \max\left( 0, f_l - \frac{n - 1}{4 (L + 1)} \right)^2

    with the :math:`f_l` of `GaborKernel.frequencies` and n taps along the axis that has fewest. Frequencies of factors
    add, so each of the L + 1 layers of filters may have an equal share of the highest that taps at a distance of
    2 / (n - 1) represent. A mask multiplies the kernel once more: with `with_masks` its `GaussianMask.frequency` is
    shared out among the layers,

    .. math:: f_l \leftarrow f_l + \frac{s}{2 \pi (L + 1)} \max_a \frac{1}{|\sigma_a|}

    This is the published "together", for the targets "gabor" and "gabor+mask", where the weight is 0.1. The published
    code takes a larger :math:`f_l` than it means to; here it is what it means to take. Kernels of a single tap
    have no frequencies, and other kernels than those of `GaborKernel` are passed over.

    Args:
        sampled: the kernels of a forward pass, from `SampledKernels`.
        deviations: s, the standard deviations of a spectrum that count.
        with_masks: count the spectra of the masks too.

    Returns:
        ().

    Raises:
        InputError: no kernel is made of Gabor filters.

    Reference:
        Romero et al., "FlexConv: Continuous Kernel Convolutions with Differentiable Kernel Sizes", arXiv 2110.08059,
        section 4.3.
    """
    squares = []
    for one in sampled.values():
        kernel, mask = gabor_parts(one.layer)
        if kernel is None:
            continue
        frequencies = kernel.frequencies(deviations)
        if with_masks and mask is not None:
            frequencies = frequencies + mask.frequency(deviations) / len(frequencies)
        share = _highest(one.layer, one.size) / len(frequencies)
        squares.append((frequencies - share).relu().square().sum())
    if not squares:
        raise InputError("none of the sampled kernels is made of Gabor filters, as those of FlexConv and CCNNConv are")
    return torch.stack(squares).sum()


def gabor_parts(layer: GeneratedConv) -> tuple[GaborKernel | None, GaussianMask | None]:
    """Return the network of Gabor filters that computes the kernel of a layer, and its mask; None: it has none."""
    whole = layer.kernel
    kernel, mask = (whole.kernel, whole.mask) if isinstance(whole, MaskedKernel) else (whole, None)
    return (kernel, mask) if isinstance(kernel, GaborKernel) else (None, None)


def _highest(layer: GeneratedConv, size: tuple[int, ...]) -> float:
    """Return the highest frequency that the taps of a layer represent along all axes; infinite for a single tap."""
    return min((1 / (2 * tap.distance) for tap in layer.reach(size) if tap.last > tap.first), default=inf)
