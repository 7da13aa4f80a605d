"""Facts of the Gaussians from which surfaces come."""

from convnn.systems import PUBLISHED, System, register_system
from convnn.tasks.surface import _systems as _family  # noqa: F401

register_system(
    System(
        family="surfaces",
        number=64,
        name="GVKF: Gaussians of voxels",
        selects="the Gaussians on the ray through a pixel or a place, nearest first; a network makes them from voxels",
        weighs="by their values where they are densest on the ray, or before that at the place",
        aggregates="alpha compositing: what is in front covers what is behind; its opacity is the field",
        paper="arXiv 2411.01853",
        checked=f"{PUBLISHED} of Gaussians and losses; its renderer and field as written out in NumPy, as they need"
        " CUDA; SciPy's densities, rotations and integrals; scikit-learn's Gaussian kernel; loops over pixels",
        where="convnn.ops.splatting.splat convnn.ops.opacity_field.opacity_field"
        " convnn.tasks.surface.splats.AnchorGaussians convnn.tasks.surface.splats.splat_loss",
    )
)
