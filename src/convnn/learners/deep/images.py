"""Convolutional deep kernel machines: networks of Gram triples on images, and an estimator for scikit-learn."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least
from convnn.learners.deep.gram_layer import GramLayer, check_dof, start
from convnn.learners.deep.inputs import PatchGram, draw_patches
from convnn.learners.deep.kernels import kernel_layer
from convnn.learners.deep.mixing import GramConv2d, NystromPool
from convnn.learners.deep.norm import GramNorm, GramSkip
from convnn.learners.deep.output import Functions, GaussianOutput
from convnn.learners.deep.sampled import SampledClassifier
from convnn.learners.kernels import GramKernel


class _Builder:
    """Makes the parts of a network, whose layers are numbered."""

    def __init__(self, kernel: str | GramKernel, dof: float, norm: str, jitter: float) -> None:
        self.kernel, self.dof, self.norm, self.jitter, self.number = kernel, dof, norm, jitter, 0

    def convolution(self, width: int, out: int, stride: int = 1) -> list[nn.Module]:
        """Return kernel, convolution, Gram layer (of finite width) and norm."""
        self.number += 1
        learned = [] if self.dof == math.inf else [GramLayer(out, self.dof, name=f"layer {self.number}")]
        convolution = GramConv2d(width, out, 3, stride)
        return [kernel_layer(self.kernel, self.jitter), convolution, *learned, GramNorm(points=self.norm)]

    def block(self, width: int, out: int, stride: int) -> GramSkip:
        """Return two convolutions and a way around them, which is a convolution where the triple changes shape."""
        is_same = width == out and stride == 1
        around = [] if is_same else [GramConv2d(width, out, 1, stride), GramNorm(points=self.norm)]
        through = [*self.convolution(width, out, stride), *self.convolution(out, out)]
        return GramSkip([nn.Sequential(*around), nn.Sequential(*through)])


def residual_network(
    patches: Tensor,
    outputs: int,
    widths: Sequence[int] = (16, 32, 64),
    blocks: int = 3,
    *,
    kernel: str | GramKernel = "relu",
    dof: float = 0.01,
    norm: str = "global",
    jitter: float = 1e-4,
) -> nn.Sequential:
    """Return the published residual network, from images (B, C, H, W) to functions.

    A convolution is followed by a stage for each width, whose first block halves the map; then come the mean over all
    pixels and the output. Published are widths of 16 n, 32 n and 64 n, with n up to 32, and three blocks.

    Args:
        patches: (P, C, k, k) inducing patches at the start.
        outputs: O.
        widths: inducing points of each stage, at least one stage; the first convolution has those of the first.
        blocks: of each stage, at least 0; none leaves only the first convolution.
        kernel: as of `DeepKernelMachineClassifier`.
        dof: nu, the relative width of each Gram layer; infinity leaves them out.
        norm: how inner products of points are divided, a word of `GramNorm`.
        jitter: added to the diagonals of kernel matrices.

    Raises:
        InputError: an argument is out of range.

    Reference:
        Milsom, Anson and Aitchison, "Convolutional deep kernel machines", ICLR 2024, arXiv 2309.09814.
    """
    check_at_least("blocks", blocks, 0)
    if not widths:
        raise InputError("widths=() must have the number of inducing points of at least one stage")
    if dof != math.inf:
        check_dof(dof)
    builder = _Builder(kernel, dof, norm, jitter)
    width = widths[0]
    modules = [PatchGram(patches), *builder.convolution(patches.shape[0], width)]
    for out in widths:
        for number in range(blocks):
            modules.append(builder.block(width, out, 2 if number == 0 else 1))
            width = out
    return nn.Sequential(*modules, NystromPool(width), GramNorm(points=norm), GaussianOutput(width, outputs))


class ConvDKMClassifier(SampledClassifier):
    """Classes of images by a convolutional deep kernel machine: the limit of infinite channels, which learns its Grams.

    Each pixel is known by its inner products with inducing points, which start as patches of images; a convolution
    mixes them, and a Gram layer moves them to where the labels want them: see `residual_network`. Training is that of
    `DeepKernelMachineClassifier`.

    Images should be whitened, or at least of zero mean and variance 1. Computes in float64.

    Args:
        widths: inducing points of each stage, and of the patches those of the first; each stage halves the map.
        blocks: residual blocks of each stage.
        kernel: "relu", "squared_exponential", "linear", or a kernel that is a function of inner products.
        dof: nu, the relative width of each layer; the smaller, the more is learned. Infinity is a network that learns
            only the mixtures of its inducing points.
        norm: how inner products of pixels are divided: "image", "local" or "none". The published "global", and
            "location", make a prediction depend on the other images that it is made with.
        shape: (C, H, W) of images that come as rows (N, C H W), row by row and channel by channel; None reads rows as
            images of a single row of pixels.
        n_samples: of the functions, in training and prediction.
        max_iter: steps.
        lr: their length at first; it falls to a tenth after 60 %, and again after 90 %.
        batch_size: images in a step.
        jitter: added to the diagonals of kernel matrices, as a share of them and as it is.
        random_state: seed or generator of mixtures and patches, samples and batches, in this order.
        device: where to compute, such as "cuda"; None is the processor.
        verbose: whether to print the objective.

    Attributes:
        classes_: the classes, in order.
        network_: the module from images to functions.
        shape_: (C, H, W) of the images of `fit`.
        objectives_: the objective before each step.
        n_iter_: steps taken.

    Raises:
        InputError: in `fit`, an argument is out of range.
        UnsupportedError: in `fit`, a matrix is not positive definite; the message names the layer.

    Reference:
        Milsom, Anson and Aitchison, "Convolutional deep kernel machines", ICLR 2024, arXiv 2309.09814.
    """

    shape_: tuple[int, ...]

    def __init__(
        self,
        widths: Sequence[int] = (24,),
        blocks: int = 1,
        *,
        kernel: str | GramKernel = "relu",
        dof: float = 0.01,
        norm: str = "image",
        shape: Sequence[int] | None = None,
        n_samples: int = 32,
        max_iter: int = 400,
        lr: float = 0.03,
        batch_size: int = 100,
        jitter: float = 1e-4,
        random_state: Any = None,
        device: str | None = None,
        verbose: bool = False,
    ) -> None:
        self.widths = widths
        self.blocks = blocks
        self.kernel = kernel
        self.dof = dof
        self.norm = norm
        self.shape = shape
        self.n_samples = n_samples
        self.max_iter = max_iter
        self.lr = lr
        self.batch_size = batch_size
        self.jitter = jitter
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def fit(self, X: Any, y: Any) -> "ConvDKMClassifier":
        """Learn from images X (N, C, H, W), or rows (N, D), and labels y (N,)."""
        rows, self.shape_ = self._rows(X)
        points, labels = self._check_labelled(rows, y)
        self._check_steps()
        images, draws = self._images(points), self._draws()
        self._set_network(images, draws)
        self._learn(images, labels, draws)
        return self

    def _set_network(self, images: Tensor, draws: np.random.RandomState) -> None:
        """Set a network of drawn mixtures and patches, in which no Gram layer has learned anything."""
        if not isinstance(self.widths, Sequence):
            raise InputError(f"widths={self.widths!r} must be a sequence, the inducing points of each stage")
        seed = int(draws.randint(2**31))
        width = next(iter(self.widths), 1)  # of none the network complains
        patches = draw_patches(images, width, 3, torch.Generator().manual_seed(seed))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = residual_network(
                patches, len(self.classes_), self.widths, self.blocks,
                kernel=self.kernel, dof=self.dof, norm=self.norm, jitter=self.jitter,
            )  # fmt: skip
        self.network_ = network.to(images)
        start(self.network_, images[:1])

    def _rows(self, X: Any) -> tuple[Any, tuple[int, ...]]:
        """Return images as rows (N, D), and (C, H, W)."""
        shape = tuple(X.shape if hasattr(X, "shape") else np.asarray(X).shape)
        if len(shape) == 4:
            return np.asarray(X).reshape(shape[0], -1), shape[1:]
        if len(shape) == 3:
            raise InputError(f"X of shape {shape} must be (N, C, H, W), or rows (N, D); X[:, None] has one channel")
        if self.shape is None or len(shape) != 2:
            return X, (1, 1, shape[1] if len(shape) == 2 else 1)
        if np.shape(self.shape) != (3,) or math.prod(self.shape) != shape[1]:
            raise InputError(f"shape={self.shape} must be (C, H, W) of {shape[1]} values, as many as a row of X has")
        return X, tuple(self.shape)

    def _images(self, points: Tensor) -> Tensor:
        return points.double().view(-1, *self.shape_)

    def _functions(self, X: Any) -> tuple[Functions, Tensor]:
        """Return the functions at images, and the images as rows in their own type."""
        rows, shape = self._rows(X)
        points = self._check_points(rows, reset=False)
        if np.ndim(X) == 4 and shape != self.shape_:
            raise InputError(f"X has images of shape {shape}, which must be {self.shape_}, as those of fit")
        return self._evaluate(self._images(points)), points
