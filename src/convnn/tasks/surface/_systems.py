"""Facts of the surfaces."""

from convnn.systems import PUBLISHED, System, register_family, register_system

register_family(
    "surfaces",
    "Surfaces",
    "Points with normals become a mesh. A place in space looks at the voxels near it, which hold what is known there.",
)
register_system(
    System(
        family="surfaces",
        number=112,
        name="NKSR: neural kernel surface reconstruction",
        selects="of voxels of several sizes, the 27 of each size around a place",
        weighs="by a B-spline of the distance from their centres, times a learned inner product",
        aggregates="a sum whose coefficients solve a sparse system: 0 at the points, the normals as gradients",
        paper="arXiv 2305.19590",
        checked=f"{PUBLISHED}, field, solution and voxels (formulas of the release in NumPy, as it needs CUDA); SciPy's"
        " B-splines; grid sampling; dense solves",
        where="convnn.models.surfaces.field.KernelField convnn.models.surfaces.hierarchy.Hierarchy"
        " convnn.tasks.surface.NeuralKernelSurface convnn.ops.voxels.Voxels",
    )
)
