"""A normalising flow of invertible convolutions: FInC Flow, or Glow without them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least
from convnn.models._own_loss import Answer, OwnLoss
from convnn.models._registry import register_model
from convnn.nn import LayerFactory
from convnn.nn._grid import Sides
from convnn.nn.invertible.glow import ActNorm2d, AffineCoupling, InvertiblePointwise, Logit, Squeeze2d
from convnn.nn.invertible.protocol import Invertible, InvertibleSequence, of_each_image
from convnn.nn.invertible.triangular import FInC2d


class FInCFlow(nn.Module):
    r"""An invertible network f from images to Gaussian noise, which therefore knows the density of an image.

    .. math:: \log p(x) = \log \mathcal{N}(f(x); 0, I) + \log |\det \partial f / \partial x|

    Each level halves the map into four times the channels and takes `steps` steps: `FInC2d`, `ActNorm2d`,
    `InvertiblePointwise` and `AffineCoupling`. After each level but the last, half of the channels are done.

    Args:
        in_channels: number of channels of the images.
        levels: number of levels; the sides of an image are multiples of 2 to this power.
        steps: number of steps of a level.
        width: number of channels inside of the couplings.
        kernel_size: side of the kernels of `FInC2d`.
        invertible_conv: whether a step has `FInC2d`; without it the network is Glow.
        split_prior: whether half of the channels are done after a level, in a coupling of their own.
        values: number of values that a pixel can have: images hold whole numbers from 0 on, to which noise below 1 is
            added, and `Logit` comes first; 0: images are real numbers, as they are.
        layer: function from channels to the first layer inside of a coupling; None is a convolution of 3 x 3.

    Raises:
        InputError: an argument is out of range; in forward: images of other channels or sides.

    Reference:
        Kallappa, Nagar and Varma, "FInC Flow", arXiv 2301.09266; Kingma and Dhariwal, "Glow", arXiv 1807.03039.

    Example:
        >>> flow = FInCFlow(1, levels=2, steps=1, width=8)
        >>> latents, log_prob = flow(torch.randint(256, (2, 1, 8, 8)).float())
        >>> [tuple(one.shape) for one in latents], tuple(log_prob.shape), tuple(flow.sample(3, (8, 8)).shape)
        ([(2, 2, 4, 4), (2, 8, 2, 2)], (2,), (3, 1, 8, 8))
    """

    def __init__(
        self,
        in_channels: int = 3,
        *,
        levels: int = 3,
        steps: int = 32,
        width: int = 512,
        kernel_size: Sides = 3,
        invertible_conv: bool = True,
        split_prior: bool = True,
        values: int = 256,
        layer: LayerFactory | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("in_channels", in_channels), ("levels", levels), ("steps", steps)):
            check_at_least(name, value, 1)
        check_at_least("values", values, 0)
        self.in_channels, self.split_prior, self.values = in_channels, split_prior, values
        self.logit = Logit(values) if values else None
        self.levels, self.splits = nn.ModuleList(), nn.ModuleList()
        channels = in_channels
        for level in range(levels):
            channels *= 4
            layers: list[Invertible] = [Squeeze2d()]
            for _ in range(steps):
                layers += [FInC2d(channels, kernel_size=kernel_size)] if invertible_conv else []
                layers += [ActNorm2d(channels), InvertiblePointwise(channels), AffineCoupling(channels, width, layer)]
            self.levels.append(InvertibleSequence(layers))
            if split_prior and level < levels - 1:
                self.splits.append(AffineCoupling(channels, width, layer))
                channels //= 2

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the latent maps of all levels, and the log-density of each image, (B,).

        With `values`, noise is drawn in every call, and the density is that of image and noise.
        """
        latents, log_normal, log_det = self.parts(x)
        return latents, log_normal + log_det

    def parts(self, x: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """Return the latent maps, and of each image (B,) their log-density and the logarithm of the determinant."""
        latents, log_det = self.transform(self._spread(x))
        log_normal = [-0.5 * (one**2 + math.log(2 * math.pi)).flatten(1).sum(1) for one in latents]
        return latents, torch.stack(log_normal).sum(0), log_det

    def transform(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Map images (B, C, H, W) of real numbers to the latent maps of all levels, and log-determinants (B,)."""
        self._check(x)
        total, latents = of_each_image(x, 0.0), []
        if self.logit is not None:
            x, total = self.logit(x)
        for i, level in enumerate(self.levels):
            x, log_det = level(x)
            total = total + log_det
            if i < len(self.splits):
                x, log_det = self.splits[i](x)
                total = total + log_det
                x, done = x.chunk(2, 1)
                latents.append(done)
        return [*latents, x], total

    @torch.no_grad()
    def inverse(self, latents: Sequence[Tensor]) -> Tensor:
        """Return the images (B, C, H, W) of latent maps, as `transform` returns them."""
        x = latents[-1]
        for i in reversed(range(len(self.levels))):
            if i < len(self.splits):
                x = self._part(self.splits[i]).inverse(torch.cat([x, latents[i]], 1))
            x = self._part(self.levels[i]).inverse(x)
        return x if self.logit is None else self.logit.inverse(x)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Set every `ActNorm2d` by a batch of images, before training."""
        x = self._spread(x)
        self._check(x)
        x = x if self.logit is None else self.logit(x)[0]
        for i, level in enumerate(self.levels):
            for layer in self._part(level).layers:
                if isinstance(layer, ActNorm2d):
                    layer.initialize(x)
                x = layer(x)[0]
            if i < len(self.splits):
                x = self.splits[i](x)[0].chunk(2, 1)[0]

    def bits_per_dimension(self, x: Tensor) -> Tensor:
        """Return the negative log-density of each image in bits for each of its numbers, (B,)."""
        return -self(x)[1] / (x.shape[1:].numel() * math.log(2))

    @torch.no_grad()
    def sample(self, number: int, size: tuple[int, int], temperature: float = 1.0) -> Tensor:
        """Draw images (number, C, H, W); with `values` they hold whole numbers below it.

        Args:
            number: number of images.
            size: their height and width.
            temperature: standard deviation of the latent maps.
        """
        device, dtype = next(self.parameters()).device, next(self.parameters()).dtype
        blank = torch.zeros(number, self.in_channels, *size, device=device, dtype=dtype)
        shapes = [one.shape for one in self.transform(blank)[0]]
        drawn = [temperature * torch.randn(shape, device=device, dtype=dtype) for shape in shapes]
        images = self.inverse(drawn)
        return images.floor().clamp(0, self.values - 1) if self.values else images

    def _spread(self, x: Tensor) -> Tensor:
        """Add uniform noise to whole numbers."""
        return x + torch.rand_like(x) if self.values else x

    def _part(self, part: nn.Module) -> "InvertibleSequence":
        return part  # type: ignore[return-value]

    def _check(self, x: Tensor) -> None:
        side = 2 ** len(self.levels)
        if x.dim() != 4 or x.shape[1] != self.in_channels or x.shape[2] % side or x.shape[3] % side:
            raise InputError(
                f"images of shape {tuple(x.shape)} must be (B, {self.in_channels}, H, W) with sides that are multiples"
                f" of {side}, 2 to the power of levels={len(self.levels)}"
            )


class PixelFlow(OwnLoss):
    r"""A `FInCFlow` of images of whole numbers, which learns by their density.

    .. math:: L = -\frac{\log \mathcal{N}(f(x); 0, I) + \log |\det \partial f / \partial x|}{D \log 2}

    in bits for each of the D numbers of an image, with uniform noise added to them, an upper bound of the bits that a
    code of the image takes on average. The terms are the two logarithms.

    Args:
        layer: function from channels to the first layer inside of a coupling.
        in_channels: number of channels of the images.
        num_classes: not read.
        width: factor on d_hidden.
        levels, kernel_size, invertible_conv, split_prior, values: as in `FInCFlow`.
        num_layers: number of steps of a level.
        d_hidden: number of channels inside of the couplings.

    Raises:
        InputError: an argument is out of range.

    Reference:
        Kallappa, Nagar and Varma, "FInC Flow", arXiv 2301.09266; the noise: Theis et al., arXiv 1511.01844.
    """

    default_layer: ClassVar[str] = "Conv2d"
    defaults: ClassVar[Mapping[str, Any]] = {"optimizer": "adam", "weight_decay": 0.0}
    terms = ("latents", "volume")
    figures = ("bits_per_dim",)

    def __init__(
        self,
        layer: LayerFactory,
        *,
        in_channels: int = 3,
        num_classes: int = 0,
        width: float = 1.0,
        levels: int = 3,
        num_layers: int = 32,
        d_hidden: int = 512,
        kernel_size: Sides = 3,
        invertible_conv: bool = True,
        split_prior: bool = True,
        values: int = 256,
    ) -> None:
        super().__init__(in_channels, num_classes, width)
        check_at_least("num_layers", num_layers, 1)
        check_at_least("values", values, 2)
        self.flow = FInCFlow(
            in_channels,
            levels=levels,
            steps=num_layers,
            width=self.scaled(d_hidden),
            kernel_size=kernel_size,
            invertible_conv=invertible_conv,
            split_prior=split_prior,
            values=values,
            layer=layer,
        )

    def forward(self, x: Tensor) -> Answer:  # type: ignore[override]
        """Return the loss of images (B, C, H, W) of whole numbers from 0 to `values` - 1.

        Raises:
            InputError: they have other channels or sides.
        """
        _, log_normal, log_det = self.flow.parts(x)
        unit = -1 / (x.shape[1:].numel() * math.log(2))
        terms = {"latents": unit * log_normal.sum(), "volume": unit * log_det.sum()}
        return Answer(terms, {"bits_per_dim": unit * (log_normal + log_det)})

    def prepare(self, x: Tensor) -> None:
        """Set every `ActNorm2d` by a batch of images, before training."""
        self.flow.initialize(x)

    def sample(self, count: int, shape: tuple[int, ...], temperature: float = 1.0) -> Tensor:
        """Draw images (count, C, H, W) of whole numbers; see `FInCFlow.sample`."""
        _, height, width = shape
        return self.flow.sample(count, (height, width), temperature)


@register_model(PixelFlow)
def finc_flow(layer: LayerFactory, **settings: Any) -> PixelFlow:
    """Normalising flow of invertible convolutions; it models images without labels, and draws new ones."""
    return PixelFlow(layer, **settings)
