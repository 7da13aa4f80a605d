"""Facts of the invertible layers."""

from convnn.systems import PUBLISHED, System, register_system

register_system(
    System(
        family="windows",
        number=87,
        name="FInC Flow: invertible convolution",
        selects="those of a window that are above and to the left of the position, or in another quadrant",
        weighs="equally",
        aggregates="a kernel whose matrix on the whole map is triangular, so that it is inverted diagonal by diagonal",
        paper="arXiv 2301.09266",
        checked=f"{PUBLISHED}, inverse and density; the inverse of the dense matrix; autograd's Jacobian",
        where="convnn.nn.FInC2d convnn.nn.TriangularConv2d convnn.models.FInCFlow convnn.ops.triangular.solve",
    )
)
