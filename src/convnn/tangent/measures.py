"""What a kernel is like, in numbers: its spectrum, its rank, and how well it is aligned with labels."""

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError


def as_matrix(kernel: Tensor) -> Tensor:
    """Return a kernel as a symmetric matrix: (N, N) itself, (N, N, O, O) as (N O, N O), outputs of a sample together.

    Raises:
        InputError: it has another shape.
    """
    if kernel.dim() == 4 and kernel.shape[0] == kernel.shape[1] and kernel.shape[2] == kernel.shape[3]:
        return kernel.transpose(1, 2).flatten(2).flatten(0, 1)
    if kernel.dim() != 2 or kernel.shape[0] != kernel.shape[1] or not kernel.shape[0]:
        raise InputError(f"kernel of shape {tuple(kernel.shape)} must be (N, N) or (N, N, O, O)")
    return kernel


def spectrum(kernel: Tensor) -> Tensor:
    """Return the eigenvalues of a kernel (N, N) or (N, N, O, O), largest first, in float64; rounding may leave -1e-17.

    Raises:
        InputError: the kernel has another shape.
    """
    return torch.linalg.eigvalsh(as_matrix(kernel).double()).flip(0)


def effective_rank(kernel: Tensor) -> float:
    r"""Return over how many directions a kernel is spread, 1 to N, and 0 of a kernel that is 0.

    .. math:: \exp \Bigl( - \sum_i p_i \log p_i \Bigr), \quad p_i = \lambda_i / \sum_j \lambda_j

    Args:
        kernel: (N, N) or (N, N, O, O).

    Raises:
        InputError: the kernel has another shape.

    Reference:
        Roy and Vetterli, "The effective rank", EUSIPCO 2007.
    """
    values = spectrum(kernel).clamp_min(0)
    if not (total := values.sum()) > 0:
        return 0.0
    return float(torch.special.entr(values / total).sum().exp())


def alignment(kernel: Tensor, other: Tensor) -> float:
    r"""Return the centred alignment of two kernels, the cosine of what is left of them without their means, -1 to 1.

    .. math:: \frac{\langle H K H, H L H \rangle}{\lVert H K H \rVert \lVert H L H \rVert}, \quad H = I - 1 1^T / N

    1 is a kernel that differs by a factor and a constant; 0 where one of them is constant. The objective of support
    vectors that `convnn.learners.alignment` returns is another measure.

    Args:
        kernel: (N, N).
        other: (N, N) another kernel, or labels: classes (N,), or targets (N, C), whose kernel is that of one-hot rows.

    Raises:
        InputError: a kernel is not (N, N), or the lengths differ.

    Reference:
        Cortes, Mohri and Rostamizadeh, JMLR 13, 2012, equation 4.
    """
    if kernel.dim() != 2 or kernel.shape[0] != kernel.shape[1]:
        raise InputError(f"kernel of shape {tuple(kernel.shape)} must be (N, N)")
    if other.shape[:1] != kernel.shape[:1]:
        raise InputError(f"labels of shape {tuple(other.shape)} must have the {kernel.shape[0]} rows of the kernel")
    first, second = (_centred(one.double()) for one in (kernel, _kernel_of(other)))
    lengths = first.norm() * second.norm()
    return float((first * second).sum() / lengths) if lengths > 0 else 0.0


def _kernel_of(other: Tensor) -> Tensor:
    """Return a kernel, or that of classes (N,) or targets (N, C)."""
    if other.dim() == 1:
        other = F.one_hot(other.unique(return_inverse=True)[1])
    elif other.dim() == 2 and other.shape[0] == other.shape[1] and other.is_floating_point():
        return other
    return other.double() @ other.double().T


def _centred(kernel: Tensor) -> Tensor:
    return kernel - kernel.mean(0) - kernel.mean(1, keepdim=True) + kernel.mean()


def kronecker_error(kernel: Tensor, full: Tensor) -> float:
    r"""Return how far a kernel is from standing for all outputs,
    :math:`\lVert K \otimes I - \Theta \rVert / \lVert \Theta \rVert`.

    Args:
        kernel: (N, M), such as the kernel of kind "sum_of_logits".
        full: (N, M, O, O) the kernel of kind "full".

    Raises:
        InputError: the shapes do not agree.

    Reference:
        Mohamadi et al., arXiv 2206.12543: at initialisation it falls with the root of the width of the last layer.
    """
    if full.dim() != 4 or kernel.shape != full.shape[:2]:
        raise InputError(
            f"kernel of shape {tuple(kernel.shape)} must be (N, M), and full of shape {tuple(full.shape)} (N, M, O, O)"
        )
    identity = torch.eye(full.shape[2], device=full.device, dtype=full.dtype)
    return float((kernel[:, :, None, None] * identity - full).norm() / full.norm())
