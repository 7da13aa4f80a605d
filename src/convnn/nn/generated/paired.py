"""A kernel of points and a small one beside it, each normalised, which become one kernel at inference."""

from torch import Tensor

from convnn.errors import check_at_least, check_odd
from convnn.nn.generated.operator import GeneratedConv
from convnn.nn.kernels.convolution import ConvMaker, Convolution, check_can_normalise
from convnn.nn.kernels.merging import Mergeable
from convnn.nn.kernels.parallel import ConvNorm
from convnn.nn.kernels.points import PointKernel
from convnn.nn.kernels.taps import Kernel, added, as_convolution, normalised

SPREAD_OF_PLACES = 0.2


class PointsAndSmall(Mergeable):
    r"""A large kernel for each channel from points that all channels share, and a small one, each normalised.

    .. math:: y = \operatorname{norm}_1(K * x) + \operatorname{norm}_2(w * x)

    It merges into one depthwise convolution, which has more weights.

    Args:
        make: creates the small kernel and the normalisation, for maps of some number of axes.
        channels: number of channels.
        kernel_size: side of the large kernel, an odd number.
        n_points: number of points; None: a quarter of the positions of the kernel.
        small_kernel: side of the small one.

    Shapes:
        input and output (B, C, \*S).

    Raises:
        InputError: a side is even; in forward: there is a single value to train the normalisation on.

    Reference:
        Kim and Park, "SMPConv", arXiv 2304.02330, section 3.4.
    """

    def __init__(
        self,
        make: ConvMaker,
        channels: int,
        kernel_size: int,
        *,
        n_points: int | None = None,
        small_kernel: int = 5,
    ) -> None:
        super().__init__()
        check_odd("kernel_size", kernel_size)
        n_points = max(kernel_size**make.axes // 4, 1) if n_points is None else n_points
        check_at_least("n_points", n_points, 1)
        points = PointKernel(
            make.axes,
            channels,
            1,
            n_points=n_points,
            radius=4 / kernel_size,
            coord_std=SPREAD_OF_PLACES,
            shared=True,
            device=make.device,
            dtype=make.dtype,
        )
        self.large = GeneratedConv(points, horizon=kernel_size, groups=channels, bias=False)
        self.norm = make.norm(channels)
        self.small = ConvNorm(make, channels, channels, small_kernel, groups=channels)
        self.make, self.channels, self.kernel_size = make, channels, kernel_size

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, *S) to (B, C, *S)."""
        large = self.large(x)
        check_can_normalise(self.norm, large)
        return self.norm(large) + self.small(x)

    def kernel(self) -> Kernel:
        """Return the sum of both kernels in evaluation mode."""
        weight = self.large.whole((self.kernel_size,) * self.make.axes).detach().double()
        large = normalised(Kernel(weight, weight.new_zeros(self.channels)), self.norm)
        return added([large, self.small.kernel()])

    def merge(self) -> Convolution:
        """Return the convolution with that kernel."""
        return as_convolution(self.kernel(), self.small.conv)
