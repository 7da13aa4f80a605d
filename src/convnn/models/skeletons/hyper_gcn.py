"""Hyper-GCN: what people do, from the motion of their joints and of joints that are learned."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least
from convnn.nn.graphs.temporal.hyperedges import AdaptiveHyperGraphConv, draw_convolutions
from convnn.nn.graphs.temporal.joints import NTU_BONES, NTU_JOINTS, with_virtual_joints
from convnn.nn.graphs.temporal.multi_scale import MultiScaleTemporalConv, temporal_shortcut

BASE, LARGE = (128, 256, 256), (128, 256, 512)
"""Channels of the three stages."""

UNITS = 3
"""Units of a stage, of which the last also reads the output of the first."""


class HyperUnit(nn.Module):
    r"""Hypergraph convolution, then temporal convolution, with a shortcut around both.

    .. math:: y = \operatorname{ReLU}(\operatorname{MultiScale}(\operatorname{HyperConv}(x)) + x')

    Args:
        in_channels: C.
        out_channels: O.
        adjacency: as in `AdaptiveHyperGraphConv`.
        num_virtual: as there.
        stride: every how many frames there is a result.
        k: as in `AdaptiveHyperGraphConv`.
        reduction: as there.
        residual: whether there is a shortcut.

    Raises:
        InputError: a number is out of range, or channels do not divide.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        adjacency: Tensor,
        num_virtual: int,
        *,
        stride: int = 1,
        k: int = 9,
        reduction: int = 4,
        residual: bool = True,
    ) -> None:
        super().__init__()
        self.joints = AdaptiveHyperGraphConv(
            in_channels, out_channels, adjacency, num_virtual, k=k, reduction=reduction
        )
        self.time = MultiScaleTemporalConv(out_channels, out_channels, stride=stride)
        self.shortcut = temporal_shortcut(in_channels, out_channels, stride) if residual else None
        for part in filter(None, (self.time, self.shortcut)):
            draw_convolutions(part)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, T, V) to (B, O, T', V), where T' is T / stride, rounded up."""
        y = self.time(self.joints(x))
        return (y if self.shortcut is None else y + self.shortcut(x)).relu()


class HyperGCN(nn.Module):
    r"""Hyper-GCN: a linear map of every joint, three stages of three units, and the mean over frames, joints, persons.

    The second and third stage halve the number of frames. Outputs of the first unit of a stage are added to the input
    of its last. Positions of joints are added to the linear map, of which tanh is taken, and every channel of every
    joint of every person is normalised.

    Args:
        in_channels: numbers of each joint, such as its place.
        num_classes: number of classes.
        bones: both joints of each bone; None is the skeleton of NTU RGB+D.
        joints: V.
        persons: M.
        widths: channels of the three stages, multiples of the subsets and of 4.
        num_virtual: learned joints of each unit.
        subsets: subsets of the channels, each with hyperedges of its own.
        k: as in `AdaptiveHyperGraphConv`.
        reduction: as there.

    Raises:
        InputError: a number is out of range, channels do not divide, or a bone has a joint that is not there.

    Reference:
        "Adaptive Hyper-Graph Convolution Network for Skeleton-based Human Action Recognition with Virtual Connections",
        arXiv 2411.14796. Its layers have the published numbers; what joins them is built from a description of the
        published code and was not compared with it.

    Example:
        >>> network = hyper_gcn_base(num_classes=5).eval()
        >>> network(torch.randn(2, 3, 8, 25, 2)).shape  # two persons of 25 joints in 8 frames
        torch.Size([2, 5])
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        num_classes: int = 60,
        bones: Sequence[tuple[int, int]] | None = None,
        joints: int = NTU_JOINTS,
        persons: int = 2,
        widths: Sequence[int] = BASE,
        num_virtual: int = 3,
        subsets: int = 8,
        k: int = 9,
        reduction: int = 4,
    ) -> None:
        super().__init__()
        numbers = {"in_channels": in_channels, "num_classes": num_classes, "joints": joints, "persons": persons}
        for name, number in numbers.items():
            check_at_least(name, number, 1)
        if len(widths) != 3:
            raise InputError(f"widths={tuple(widths)} must be three numbers of channels, one for each stage")
        self.in_channels, self.num_joints, self.persons = in_channels, joints, persons
        first, *_, last = widths
        self.embed = nn.Linear(in_channels, first)
        self.positions = nn.Parameter(0.02 * torch.randn(joints, first))
        self.norm = nn.BatchNorm1d(persons * joints * first)
        adjacency = with_virtual_joints(NTU_BONES if bones is None else bones, joints, num_virtual, subsets)
        self.units = nn.ModuleList()
        before = first
        for stage, width in enumerate(widths):
            for unit in range(UNITS):
                stride = 2 if stage and not unit else 1
                self.units.append(
                    HyperUnit(before, width, adjacency, num_virtual, stride=stride, k=k, reduction=reduction)
                )
                before = width
        self.head = nn.Linear(last, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map persons (B, C, T, V, M) to logits (B, num_classes).

        Raises:
            InputError: x has another shape, or is not floating.
        """
        shape = (self.in_channels, self.num_joints, self.persons)
        if x.dim() != 5 or (x.shape[1], *x.shape[3:]) != shape or not x.is_floating_point():
            raise InputError(
                f"x of shape {tuple(x.shape)} and {x.dtype} must be floating and (B, {self.in_channels}, T,"
                f" {self.num_joints}, {self.persons}), numbers of the joints of persons in every frame"
            )
        batch, _, frames = x.shape[:3]
        h = (self.embed(x.permute(0, 4, 3, 2, 1)) + self.positions.unsqueeze(1)).tanh()  # (B, M, V, T, F)
        h = self.norm(h.movedim(4, 3).reshape(batch, -1, frames))
        h = h.view(batch * self.persons, self.num_joints, -1, frames).permute(0, 2, 3, 1)
        kept = h
        for i, unit in enumerate(self.units):
            h = unit(h + kept if i % UNITS == UNITS - 1 else h)
            kept = h if i % UNITS == 0 else kept
        return cast(Tensor, self.head(h.mean((2, 3)).unflatten(0, (batch, self.persons)).mean(1)))

    def virtual_joints(self) -> list[Tensor]:
        """Return the virtual joints (P, C) of each unit, for `convnn.objectives.skeletons.virtual_divergence_loss`."""
        return [cast(HyperUnit, unit).joints.virtual for unit in self.units]


def hyper_gcn_base(**settings: Any) -> HyperGCN:
    """Hyper-GCN with 128, 256 and 256 channels, and 1,041,677 parameters for 60 classes."""
    return HyperGCN(**{"widths": BASE} | settings)


def hyper_gcn_large(**settings: Any) -> HyperGCN:
    """Hyper-GCN with 128, 256 and 512 channels, and 2,305,293 parameters for 60 classes."""
    return HyperGCN(**{"widths": LARGE} | settings)
