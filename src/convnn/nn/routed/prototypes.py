r"""Kernels of classes that an image changes: each becomes, in part, the mean of the pixels that it claims."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_positive

IGNORED = -1
"""The label of pixels that no class claims."""
LEAST_NORM, LEAST_MASS, IN_DOUBT = 1e-12, 1e-3, 1e-6


class KernelLogits(NamedTuple):
    """What a `PrototypicalKernelHead` returns.

    Attributes:
        logits: (B, K + new, H, W), by the kernels of each image.
        initial: (B, K, H, W), by the learned kernels, the same for all images.
        kernels: (B, K + new, C), those of each image, and then the new ones.
    """

    logits: Tensor
    initial: Tensor
    kernels: Tensor


class PrototypicalKernelHead(nn.Module):
    r"""Score pixels by one kernel for each class, which the image updates by the pixels that the class claims.

    .. math:: \ell_k(p) = s \cos(w_k, F(p)), \qquad m = \operatorname{softmax}_k(\ell), \qquad
        p_k = \sum_p m_k(p) F(p) / \sum_p m_k(p), \qquad a_k = \sigma(U (p_k \odot w_k) + b), \qquad
        w_k \leftarrow a_k \odot p_k + (1 - a_k) \odot w_k

    The kernel of a class that claims next to nothing stays as it is. So learned kernels and prototypes of classes that
    were never learned (`novel_kernel`) live in one space; the latter do not take part in the update.

    Args:
        channels: channels C of the features.
        num_classes: number of learned classes K, the background among them.
        scale: s.
        stages: how often kernels are updated, 0 for never.

    Shapes:
        features (B, C, H, W); see `KernelLogits`.

    Raises:
        InputError: an argument is out of range.

    Reference:
        Prototypical kernel learning of arXiv 2308.04952; formulas are the simplest that its abstract allows. Kernels
        that an image updates are K-Net's, arXiv 2106.14855.
    """

    def __init__(self, channels: int, num_classes: int, *, scale: float = 10.0, stages: int = 1) -> None:
        super().__init__()
        check_at_least("channels", channels, 1)
        check_at_least("num_classes", num_classes, 1)
        check_positive("scale", scale)
        check_at_least("stages", stages, 0)
        self.scale = scale
        self.weight = nn.Parameter(torch.empty(num_classes, channels))
        self.gate = nn.ModuleList(nn.Linear(channels, channels) for _ in range(stages))
        nn.init.normal_(self.weight, std=0.1)

    def forward(self, features: Tensor, label: Tensor | None = None, novel: Tensor | None = None) -> KernelLogits:
        """Return logits before and after the update, and the kernels.

        Args:
            features: (B, C, H, W).
            label: (B, H, W) int64, the class of each pixel or -1, which claims in the place of the softmax, as an
                option of training.
            novel: (new, C), kernels of further classes.

        Raises:
            InputError: a shape does not fit, or a label is no class.
        """
        num_classes, channels = self.weight.shape
        if features.dim() != 4 or features.shape[1] != channels:
            raise InputError(f"features of shape {tuple(features.shape)} must be (B, {channels}, H, W)")
        if novel is not None and (novel.dim() != 2 or novel.shape[1] != channels):
            raise InputError(f"novel of shape {tuple(novel.shape)} must be (new, {channels})")
        claims = None if label is None else _claims(label, features, num_classes)
        kernels = self.weight.expand(features.shape[0], -1, -1)
        initial = self._score(features, kernels)
        for number, gate in enumerate(self.gate):
            if claims is None:
                scores = self._score(features, kernels) if number else initial
                shares = scores.softmax(1)
            else:
                shares = claims
            kernels = self._updated(kernels, features, shares, gate)
        if novel is not None:
            kernels = torch.cat([kernels, novel.expand(features.shape[0], -1, -1)], dim=1)
        logits = self._score(features, kernels) if len(self.gate) or novel is not None else initial
        return KernelLogits(logits, initial, kernels)

    def _score(self, features: Tensor, kernels: Tensor) -> Tensor:
        unit, of_classes = F.normalize(features, dim=1, eps=LEAST_NORM), F.normalize(kernels, dim=2, eps=LEAST_NORM)
        return self.scale * torch.einsum("bkc,bchw->bkhw", of_classes, unit)

    def _updated(self, kernels: Tensor, features: Tensor, shares: Tensor, gate: nn.Module) -> Tensor:
        means, mass = masked_means(features, shares)
        kept = gate(means * kernels).sigmoid()
        return torch.where((mass > LEAST_MASS).unsqueeze(2), kept * means + (1 - kept) * kernels, kernels)

    def extra_repr(self) -> str:
        """Describe the sizes."""
        return f"{self.weight.shape[1]}, {self.weight.shape[0]}, scale={self.scale}, stages={len(self.gate)}"


def masked_means(features: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Return the means (B, K, C) of features (B, C, H, W) under masks (B, K, H, W), and the mass (B, K) of each."""
    mass = masks.flatten(2).sum(2)
    return torch.einsum("bkhw,bchw->bkc", masks, features) / (mass + IN_DOUBT).unsqueeze(2), mass


def _claims(label: Tensor, features: Tensor, num_classes: int) -> Tensor:
    """Return the pixels that each class has by its label, 0 or 1 (B, K, H, W)."""
    expected = (features.shape[0], *features.shape[2:])
    if label.shape != expected or label.dtype != torch.long:
        raise InputError(f"label of shape {tuple(label.shape)} and {label.dtype} must be {expected} and int64")
    if label.numel() and not IGNORED <= int(label.min()) <= int(label.max()) < num_classes:
        raise InputError(
            f"label from {int(label.min())} to {int(label.max())} must lie between {IGNORED} and {num_classes - 1}"
        )
    return (label.unsqueeze(1) == torch.arange(num_classes, device=label.device).view(-1, 1, 1)).to(features)


def prototype_loss(found: KernelLogits, label: Tensor) -> Tensor:
    """Return the cross-entropy of the logits before and after the update, in a sum; -1 marks pixels that do not count.

    Args:
        found: those of a `PrototypicalKernelHead`.
        label: (B, H, W) int64.

    Raises:
        InputError: no pixel counts.
    """
    if not (label != IGNORED).any():
        raise InputError(f"label must have a pixel that is not {IGNORED}")
    return torch.stack(
        [F.cross_entropy(one, label, ignore_index=IGNORED) for one in (found.initial, found.logits)]
    ).sum()


def novel_kernel(features: Tensor, mask: Tensor, base: Tensor) -> Tensor:
    r"""Return the kernel (C,) of a class that was not learned, from a few images in which it is marked.

    .. math:: \bar{w} = \frac1n \sum_{i} \frac{\sum_p M_i(p) F_i(p)}{\sum_p M_i(p)}, \qquad
        w = \bar{w} \; \frac{\operatorname{mean}_k \lVert w_k \rVert}{\lVert \bar{w} \rVert}

    Call it once for every new class, and append.

    Args:
        features: (n, C, H, W), of n images.
        mask: (n, H, W), not 0 where the class is.
        base: (K, C), the learned kernels, the background's among them.

    Raises:
        InputError: a shape does not fit, or a mask is empty.

    Reference:
        arXiv 2308.04952.
    """
    if features.dim() != 4 or mask.shape != (features.shape[0], *features.shape[2:]) or not features.shape[0]:
        raise InputError(
            f"mask of shape {tuple(mask.shape)} must be (n, H, W) for features of shape {tuple(features.shape)}, n >= 1"
        )
    if base.dim() != 2 or base.shape[1] != features.shape[1]:
        raise InputError(f"base of shape {tuple(base.shape)} must be (K, {features.shape[1]})")
    is_empty = ~mask.flatten(1).bool().any(1)
    if is_empty.any():
        raise InputError(f"mask of image {int(is_empty.nonzero()[0])} is empty; it must mark the class")
    mean = masked_means(features, mask.bool().to(features).unsqueeze(1))[0].mean((0, 1))
    return mean * base.norm(dim=1).mean() / mean.norm()
