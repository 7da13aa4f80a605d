"""The convolution of mixtures, which is a mixture of all pairs of components."""

from torch import Tensor

from convnn.errors import InputError
from convnn.ops.mixtures.mixture import Mixture


def convolve(data: Mixture, kernel: Mixture) -> Mixture:
    r"""Return the convolution of mixtures with kernels that are mixtures, summed over the input channels.

    .. math:: w_{n} w_{k} \, \mathcal{N}(x; \mu_n + \mu_k, \Sigma_n + \Sigma_k)
        \quad \text{for all } c_{in}, n, k

    is exact: the convolution of two Gaussians is a Gaussian. The constant becomes
    :math:`\sum_{c_{in}} c \sum_k w_k`. There are K C_in N components, the kernel's slowest and the data's fastest;
    `reduce` makes fewer of them.

    Args:
        data: mixtures (B, C_in, N).
        kernel: mixtures (C_out, C_in, K), without constants, with which the integral would diverge.

    Returns:
        Mixtures (B, C_out, K C_in N).

    Raises:
        InputError: channels or dimensions differ, or a kernel has a constant.

    Reference:
        Celarek et al., "Gaussian Mixture Convolution Networks", arXiv 2202.09153.
    """
    if kernel.weight.shape[1] != data.weight.shape[1] or kernel.dims != data.dims:
        raise InputError(
            f"kernel of {kernel.weight.shape[1]} channels in {kernel.dims} dimensions must have those of data,"
            f" {data.weight.shape[1]} in {data.dims}"
        )
    if kernel.constant.count_nonzero():
        raise InputError("kernel has a constant that is not 0, with which its convolution would diverge")
    return Mixture(
        (_of_data(data.weight) * _of_kernel(kernel.weight)).flatten(2, 4),
        (_of_data(data.mean) + _of_kernel(kernel.mean)).flatten(2, 4),
        (_of_data(data.cov) + _of_kernel(kernel.cov)).flatten(2, 4),
        data.constant @ kernel.weight.sum(2).mT,
    )


def _of_data(values: Tensor) -> Tensor:
    """Turn (B, C_in, N, ...) into (B, 1, 1, C_in, N, ...)."""
    return values.unsqueeze(1).unsqueeze(1)


def _of_kernel(values: Tensor) -> Tensor:
    """Turn (C_out, C_in, K, ...) into (1, C_out, K, C_in, 1, ...)."""
    return values.transpose(1, 2).unsqueeze(0).unsqueeze(4)
