"""The kernels of a network: what each layer applies to the maps that it reads, and its spectrum."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, TypeGuard

import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least
from convnn.nn import GeneratedConv, Mergeable
from convnn.nn._modes import evaluating
from convnn.viz.figure import COLORS, FAINT, INK, own_style, save_figure, style_panel, write_plainly

MOST_LAYERS = 24
"""Rows of a picture that can still be read."""


@dataclass(frozen=True)
class LayerKernel:
    r"""The kernel of a layer.

    Attributes:
        name: name of the layer in the network.
        kind: name of its class.
        values: (C_out, C_in / groups, \*K), on the processor.
        horizon: the most taps that it may have along each axis, where it has learned how many it has; None elsewhere.
    """

    name: str
    kind: str
    values: Tensor
    horizon: tuple[int, ...] | None = None

    @property
    def sides(self) -> tuple[int, ...]:
        """Number of taps along each axis."""
        return tuple(self.values.shape[2:])

    def strongest(self, count: int) -> Tensor:
        """Return the kernels of the pairs of channels with the largest norms, (count or fewer, *K)."""
        every = self.values.flatten(0, 1)
        order = every.flatten(1).norm(dim=1).argsort(descending=True, stable=True)
        return every[order[:count]]

    def spectrum(self, points: int = 64) -> Tensor:
        """Return the root mean square over all pairs of channels of the spectrum, with frequency 0 in the middle."""
        every = self.values.flatten(0, 1).double()
        axes = tuple(range(-len(self.sides), 0))
        sizes = [max(points, side) for side in self.sides]
        power = torch.fft.fftn(every, s=sizes, dim=axes).abs().square().mean(0)
        return torch.fft.fftshift(power).sqrt()


Sizes = dict[str, tuple[GeneratedConv, tuple[int, ...]]]
"""Convolutions by their names in a network, with the sizes of the maps that they read."""

SIZE_COLUMNS = ("layer", "axis", "taps")
"""Columns of the kernels.csv of a run after that of the epoch."""


def learned_sizes(network: nn.Module, image: Tensor) -> Sizes:
    """Return the convolutions of a network whose number of taps is learned, as they compute an image (1, C, *S)."""
    sizes, modules = _sizes(network, image), dict(network.named_modules())
    found = {name: (modules[name], size) for name, size in sizes.items()}
    return {name: (part, size) for name, (part, size) in found.items() if _learns_size(part)}


def _learns_size(part: nn.Module) -> TypeGuard[GeneratedConv]:
    return isinstance(part, GeneratedConv) and part.learns_size


def read_sizes(table: Path) -> dict[str, list[float]]:
    """Read the kernels.csv of a run: the number of taps of each layer, epoch by epoch, averaged over its axes.

    Raises:
        InputError: the table cannot be read.
    """
    try:
        rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
        taps: dict[str, dict[int, list[int]]] = {}
        for row in rows:
            taps.setdefault(row["layer"], {}).setdefault(int(row["epoch"]), []).append(int(row["taps"]))
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise InputError(f"'{table}' cannot be read: {getattr(error, 'strerror', None) or repr(error)}") from None
    return {name: [sum(one) / len(one) for _, one in sorted(epochs.items())] for name, epochs in taps.items()}


def find_kernels(network: nn.Module, image: Tensor) -> list[LayerKernel]:
    """Return the kernels with which a network computes an image, in order of execution.

    These are generated kernels, the merged ones of parallel convolutions, and the weights of convolutions and of layers
    that choose neighbours, whose taps are ranks. Kernels of a single tap are left out.

    Args:
        network: any network.
        image: an input (1, C, *S), whose size decides how far some kernels reach.

    Raises:
        InputError: no layer has a kernel of more than one tap.
    """
    sizes = _sizes(network, image)
    with evaluating(network), torch.no_grad():
        modules = dict(network.named_modules())
        found = [kernel for name, size in sizes.items() if (kernel := _kernel(name, modules[name], size)) is not None]
    if not found:
        raise InputError(f"model={type(network).__name__} has no layer with a kernel of more than one tap")
    return found


def _sizes(network: nn.Module, image: Tensor) -> dict[str, tuple[int, ...]]:
    """Return the sizes of the maps that the modules with kernels read, by their names, in order of execution."""
    sizes: dict[str, tuple[int, ...]] = {}
    hooks = []
    for name, part in _parts(network):
        hooks.append(part.register_forward_hook(_remember(sizes, name)))
    try:
        with evaluating(network), torch.no_grad():
            network(image)
    finally:
        for hook in hooks:
            hook.remove()
    return sizes


def _parts(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules with kernels, not those inside of them."""
    inside: tuple[str, ...] = ()
    for name, part in network.named_modules():
        if any(name.startswith(outer) for outer in inside):
            continue
        weight = getattr(part, "weight", None)
        has_taps = isinstance(weight, Tensor) and weight.dim() > 2 and prod(weight.shape[2:]) > 1
        if isinstance(part, GeneratedConv) or (isinstance(part, Mergeable) and hasattr(part, "kernel")) or has_taps:
            inside = (*inside, f"{name}." if name else "")
            yield name, part


def _remember(sizes: dict[str, tuple[int, ...]], name: str) -> Any:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        sizes.setdefault(name, tuple(inputs[0].shape[2:]))

    return hook


def _kernel(name: str, part: nn.Module, size: tuple[int, ...]) -> LayerKernel | None:
    horizon: tuple[int, ...] | None = None
    values: Any = getattr(part, "weight", None)
    kind = type(part).__name__
    if isinstance(part, GeneratedConv):
        values, kind = part.sampled(size)[0], type(part.kernel).__name__
        most = tuple(min(tap.last - tap.first + 1, 2 * n - 1) for tap, n in zip(part.reach(size), size, strict=True))
        horizon = most if most != tuple(values.shape[2:]) else None
    elif isinstance(part, Mergeable):
        values = part.kernel().weight  # type: ignore[operator]
    if prod(values.shape[2:]) == 1 and horizon is None:
        return None
    return LayerKernel(name or kind, kind, values.detach().float().cpu(), horizon)


@own_style()
def draw_kernels(
    layers: Sequence[LayerKernel],
    path: Path | str,
    *,
    title: str | None = None,
    num_kernels: int = 6,
    sizes: Mapping[str, Sequence[float]] | None = None,
) -> Path:
    """Draw a row for each layer: its strongest kernels, and its spectrum.

    Kernels on two axes are heat maps, blue below 0 and red above; on one axis they are curves; of those on three the
    middle slice is shown. The spectrum has frequency 0 in the middle, and is brighter where it is larger.

    Args:
        layers: result of `find_kernels`.
        path: the picture, .png, .pdf or .svg, in an existing folder.
        title: title above the panels.
        num_kernels: number of kernels of a layer.
        sizes: result of `read_sizes`, to draw how many taps each layer has had, epoch by epoch; None: do not.

    Returns:
        The path of the picture.

    Raises:
        InputError: there is no layer, or the suffix is not one of these.
        OutputError: the picture cannot be written.
    """
    check_at_least("num_kernels", num_kernels, 1)
    if not layers:
        raise InputError("layers=[] must not be empty; pass the result of find_kernels")
    shown = list(layers)[:MOST_LAYERS]
    columns, rows = num_kernels + 1, len(shown) + 2 * bool(sizes)
    figure = Figure(figsize=(1.25 * columns + 1.6, 1.35 * rows + 0.5), layout=ConstrainedLayoutEngine())
    if title is not None:
        write_plainly(figure.suptitle("", fontsize=11, fontweight="bold", color=INK), title)
    grid = figure.add_gridspec(rows, columns)
    for row, layer in enumerate(shown):
        if len(layer.sides) == 1:
            _draw_curves(figure.add_subplot(grid[row, :num_kernels]), layer, num_kernels)
        else:
            _draw_maps([figure.add_subplot(grid[row, column]) for column in range(num_kernels)], layer)
        _draw_spectrum(figure.add_subplot(grid[row, num_kernels]), layer)
    if sizes:
        _draw_sizes(figure.add_subplot(grid[len(shown) :, :]), sizes)
    return save_figure(figure, path)


def describe(layer: LayerKernel) -> str:
    """Return the number of taps of a layer as text, and how many it may have."""
    taps = " x ".join(map(str, layer.sides))
    return taps if layer.horizon is None else f"{taps} of {' x '.join(map(str, layer.horizon))}"


def _draw_maps(panels: Sequence[Axes], layer: LayerKernel) -> None:
    kernels = _flat(layer.strongest(len(panels)))
    limit = kernels.abs().max().item() or 1.0
    for panel, kernel in zip(panels, kernels, strict=False):
        panel.imshow(kernel.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    for number, panel in enumerate(panels):
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
        if number >= len(kernels):
            panel.set_axis_off()
    _label(panels[0], layer)


def _draw_curves(panel: Axes, layer: LayerKernel, count: int) -> None:
    style_panel(panel)
    for number, kernel in enumerate(layer.strongest(count)):
        panel.plot(kernel.numpy(), color=COLORS[number % len(COLORS)], linewidth=1)
    _label(panel, layer)


def _draw_spectrum(panel: Axes, layer: LayerKernel) -> None:
    spectrum = layer.spectrum()
    if spectrum.dim() == 1:
        style_panel(panel)
        panel.plot(torch.linspace(-0.5, 0.5, len(spectrum)).numpy(), spectrum.numpy(), color=INK, linewidth=1)
        return
    panel.imshow(_flat(spectrum.unsqueeze(0))[0].numpy(), cmap="magma", extent=(-0.5, 0.5, 0.5, -0.5))
    panel.set(xticks=[-0.5, 0, 0.5], yticks=[])
    panel.tick_params(length=0, labelsize=7, labelcolor=FAINT)
    panel.spines[:].set_visible(False)


def _draw_sizes(panel: Axes, sizes: Mapping[str, Sequence[float]]) -> None:
    """Draw the number of taps along an axis over the epochs, a line for each layer."""
    style_panel(panel)
    shades = colormaps["viridis"].resampled(max(len(sizes), 2))
    for number, taps in enumerate(sizes.values()):
        epochs = range(1, len(taps) + 1)
        panel.plot(epochs, taps, color=shades(number), linewidth=1.2, marker="o" if len(taps) == 1 else "")
    panel.set_xlabel("epoch", fontsize=9, color=FAINT)
    panel.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    panel.set_ylim(bottom=0)
    panel.set_title(
        "taps along an axis over the epochs, from the first layer (dark) to the last", loc="left", fontsize=9
    )


def _flat(kernels: Tensor) -> Tensor:
    """Return kernels (N, *K) on two axes: the middle slices of those on three."""
    return kernels[:, kernels.shape[1] // 2] if kernels.dim() == 4 else kernels


def _label(panel: Axes, layer: LayerKernel) -> None:
    words = f"{layer.name}\n{layer.kind}\n{describe(layer)}"
    write_plainly(panel.set_ylabel("", rotation=0, ha="right", va="center", fontsize=7.5, color=INK, labelpad=8), words)
