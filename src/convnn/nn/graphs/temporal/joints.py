"""Skeletons as graphs: joints, the bones between them, and joints that all others are connected to."""

from collections.abc import Sequence

import torch
from torch import Tensor

from convnn.errors import InputError, check_at_least

NTU_JOINTS = 25
NTU_BONES = (
    *((0, 1), (1, 20), (2, 20), (3, 2)),  # spine and head
    *((4, 20), (5, 4), (6, 5), (7, 6), (21, 7), (22, 7)),  # left arm
    *((8, 20), (9, 8), (10, 9), (11, 10), (23, 11), (24, 11)),  # right arm
    *((12, 0), (13, 12), (14, 13), (15, 14)),  # left leg
    *((16, 0), (17, 16), (18, 17), (19, 18)),  # right leg
)
"""The joints at both ends of each bone of the skeletons of NTU RGB+D, arXiv 1604.02808, the outer one first."""


def skeleton_subsets(bones: Sequence[tuple[int, int]], joints: int) -> Tensor:
    """Return the adjacency of a skeleton in three parts, (3, V, V) of 0 and 1: itself, inwards, outwards.

    Entry [s, i, j] is 1 where joint j sends to joint i: to itself, to the joint nearer the middle, or away from it.

    Args:
        bones: the outer and the inner joint of each bone.
        joints: V.

    Raises:
        InputError: a bone has a joint that is not there.
    """
    check_at_least("joints", joints, 1)
    subsets = torch.zeros(3, joints, joints)
    subsets[0].fill_diagonal_(1)
    for outer, inner in bones:
        if not (0 <= outer < joints and 0 <= inner < joints):
            raise InputError(f"bones has {(outer, inner)}; joints must lie between 0 and {joints - 1}")
        subsets[1, inner, outer] = subsets[2, outer, inner] = 1
    return subsets


def with_virtual_joints(bones: Sequence[tuple[int, int]], joints: int, virtual: int, subsets: int) -> Tensor:
    """Return the adjacency of a skeleton with virtual joints, (S, V + P, V + P) of 0 and 1, the same S times.

    Bones count both ways, every joint is connected to itself, and every virtual joint to all joints, both ways, but not
    to the other virtual ones.

    Args:
        bones: both joints of each bone.
        joints: V.
        virtual: P.
        subsets: S.

    Raises:
        InputError: a bone has a joint that is not there, or a number is out of range.
    """
    check_at_least("virtual", virtual, 0)
    check_at_least("subsets", subsets, 1)
    adjacency = torch.eye(joints + virtual)
    adjacency[:joints, :joints] = skeleton_subsets(bones, joints).sum(0).clamp_max(1)
    adjacency[joints:, :joints] = adjacency[:joints, joints:] = 1
    return adjacency.repeat(subsets, 1, 1)


def check_skeletons(x: Tensor, channels: int, joints: int | None = None) -> None:
    """Refuse what is no batch of moving skeletons (B, C, T, V).

    Raises:
        InputError: x has another shape, or is not floating.
    """
    is_other = x.dim() != 4 or x.shape[1] != channels or joints not in (None, x.shape[3])
    if is_other or not x.is_floating_point():
        count = "V" if joints is None else joints
        raise InputError(
            f"x of shape {tuple(x.shape)} and {x.dtype} must be floating and (B, {channels}, T, {count}), features of"
            " the joints in every frame"
        )


def check_parts(adjacency: Tensor, joints: int | None = None) -> None:
    """Refuse what is no adjacency (S, V, V).

    Raises:
        InputError: it has another shape.
    """
    if adjacency.dim() != 3 or adjacency.shape[1] != adjacency.shape[2] or joints not in (None, adjacency.shape[1]):
        count = "V" if joints is None else joints
        raise InputError(
            f"adjacency of shape {tuple(adjacency.shape)} must be (S, {count}, {count}), a matrix for each subset"
        )
