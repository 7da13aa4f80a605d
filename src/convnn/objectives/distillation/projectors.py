"""From a feature in the middle of a network to logits: what the rest of the network would be, in small."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least

STAGES = (1, 2, 3, 4)
FINAL_GRID = 7
"""Sides of the grid to which tokens are merged, that of most networks for 224 x 224 pixels."""
HEADS = 4


def make_projector(
    shape: tuple[int, ...],
    num_classes: int,
    *,
    stage: int,
    student_dim: int,
    teacher_dim: int,
    class_tokens: int = 0,
) -> nn.Module:
    """Return a module from a feature of a student, a map or tokens, to logits.

    Args:
        shape: of one sample, (C, H, W) for a map or (T, C) for tokens, of which class tokens come first.
        num_classes: K.
        stage: at the end of which of four stages the feature is; the earlier, the deeper is the projector.
        student_dim: channels of the student's last feature.
        teacher_dim: channels of the teacher's last feature.
        class_tokens: how many of the tokens are no patches.

    Returns:
        `map_projector` or a `TokenProjector`.

    Raises:
        InputError: the stage or shape is refused; the message names it.
    """
    check_at_least("num_classes", num_classes, 1)
    if stage not in STAGES:
        raise InputError(f"stage={stage} must be one of 1, 2, 3 and 4")
    if len(shape) == 3:
        return map_projector(shape[0], max(student_dim, teacher_dim), num_classes, stage=stage)
    if len(shape) == 2:
        return TokenProjector(shape, student_dim, num_classes, stage=stage, class_tokens=class_tokens)
    raise InputError(f"shape={tuple(shape)} must be that of a map, (C, H, W), or of tokens, (T, C)")


def map_projector(channels: int, dim: int, num_classes: int, *, stage: int) -> nn.Sequential:
    """Return a module from maps (B, C, H, W) to logits: 4 - stage separable convolutions that halve them, mean, linear.

    Channels double with each of them, and the last has `dim`. After stage 4 there is one 1 x 1 convolution instead.
    Training needs more than one value a channel: with maps of 1 x 1, more than one sample.

    Args:
        channels: C.
        dim: channels before the mean.
        num_classes: number of logits.
        stage: 1 to 4.
    """
    widths = [channels * 2**step for step in range(len(STAGES) - stage)] + [dim]
    convolutions = [separable(*pair) for pair in pairwise(widths)]
    parts: list[nn.Module] = [*convolutions] or [nn.Conv2d(channels, dim, kernel_size=1)]
    projector = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(dim, num_classes))
    projector.apply(initialise)
    return projector


def separable(in_channels: int, out_channels: int) -> nn.Sequential:
    """Return two depthwise separable convolutions with batch normalisation, of which the first halves the map."""

    def half(channels: int, stride: int) -> list[nn.Module]:
        return [
            nn.Conv2d(in_channels, in_channels, 3, stride=stride, padding=1, groups=in_channels, bias=False),
            nn.Conv2d(in_channels, channels, kernel_size=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        ]

    return nn.Sequential(*half(in_channels, stride=2), *half(out_channels, stride=1))


class PatchMerging(nn.Module):
    """Merges each 2 x 2 tokens of a square grid to one: their channels side by side, LayerNorm, linear.

    The order within the square is by column and then by row, as in Swin (arXiv 2103.14030).

    Args:
        in_channels: C.
        out_channels: D.
        activate: end in GELU.
    """

    def __init__(self, in_channels: int, out_channels: int, *, activate: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * in_channels)
        self.reduction = nn.Linear(4 * in_channels, out_channels, bias=False)
        self.activation = nn.GELU() if activate else nn.Identity()

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (B, M, C) to (B, M / 4, D)."""
        half = math.isqrt(tokens.shape[1]) // 2
        squares = tokens.unflatten(1, (half, 2, half, 2)).permute(0, 1, 3, 4, 2, 5)
        return self.activation(self.reduction(self.norm(squares.flatten(3).flatten(1, 2))))


class TokenProjector(nn.Module):
    """Maps tokens (B, T, C) to logits: merges patches, transforms all tokens, and reads the class tokens or the mean.

    A grid of 14 x 14 patches is merged once and one of 28 x 28 twice, until it is about 7 x 7; smaller ones stay. Then
    come 4 - stage blocks of attention and MLP, at least one.

    Args:
        shape: (T, C), class tokens and patches of a square grid.
        dim: channels after merging.
        num_classes: number of logits.
        stage: 1 to 4.
        class_tokens: how many come before the patches. They are not merged and keep their C channels.

    Raises:
        InputError: the patches are no square, or a grid that is merged has an odd side; there are class tokens and
            merging would change the channels; or the channels are not a multiple of 4, the number of heads.

    Reference:
        Hao et al., arXiv 2310.19444; DeiT-like blocks without bias in the projections of queries, keys and values.
    """

    def __init__(
        self, shape: tuple[int, ...], dim: int, num_classes: int, *, stage: int, class_tokens: int = 0
    ) -> None:
        super().__init__()
        tokens, channels = shape
        merges = number_of_merges(tokens, class_tokens)
        width = dim if merges else channels
        if merges and class_tokens and channels != dim:
            raise InputError(
                f"student_dim={dim} must be {channels}, the channels of the tokens: patches are merged, but class"
                " tokens keep theirs"
            )
        if width % HEADS:
            raise InputError(f"tokens of {width} channels must have a multiple of {HEADS}, the number of heads")
        self.class_tokens = class_tokens
        self.merge = nn.Sequential(
            *(
                PatchMerging(dim if step else channels, dim, activate=merges == 1 or step < merges - 1)
                for step in range(merges)
            )
        )
        self.blocks = nn.Sequential(*(_block(width) for _ in range(max(len(STAGES) - stage, 1))))
        self.head = nn.Linear(width * max(class_tokens, 1), num_classes)
        self.apply(initialise)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (B, T, C) to logits (B, num_classes)."""
        count = self.class_tokens
        patches = self.merge(tokens[:, count:])
        if not count:
            return self.head(self.blocks(patches).mean(1))
        joined = torch.cat([tokens[:, :count], patches], dim=1)
        return self.head(self.blocks(joined)[:, :count].flatten(1))


def number_of_merges(tokens: int, class_tokens: int) -> int:
    """Return how often the patches among the tokens are merged.

    Raises:
        InputError: they are no square grid, or a grid that is merged has an odd side.
    """
    side = math.isqrt(max(tokens - class_tokens, 0))
    if side == 0 or side**2 != tokens - class_tokens:
        raise InputError(
            f"shape has {tokens} tokens, {class_tokens} of them class tokens; the others must be a square grid"
        )
    merges = max((side // FINAL_GRID).bit_length() - 1, 0)
    if side % 2**merges:
        raise InputError(f"a grid of {side} x {side} tokens must have sides that can be halved {merges} times")
    return merges


def guess_class_tokens(tokens: int) -> int:
    """Return how many of the tokens are not part of a square grid: 0, 1 or 2.

    Raises:
        InputError: no such number leaves a square.
    """
    found = [count for count in (0, 1, 2) if tokens > count and math.isqrt(tokens - count) ** 2 == tokens - count]
    if not found:
        raise InputError(f"{tokens} tokens are no square grid, with or without one or two class tokens")
    return found[0]


def _block(dim: int) -> nn.TransformerEncoderLayer:
    block = nn.TransformerEncoderLayer(
        dim, HEADS, 4 * dim, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    block.self_attn.register_parameter("in_proj_bias", None)
    return block


def initialise(module: nn.Module) -> None:
    """Initialise convolutions by the scale of what they send, and linear layers with a standard deviation of 0.02."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
    elif isinstance(module, nn.MultiheadAttention):
        nn.init.trunc_normal_(module.in_proj_weight, std=0.02)
    if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
