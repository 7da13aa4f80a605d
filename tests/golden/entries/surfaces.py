"""Surfaces: kernel fields on sparse voxels (arXiv 2305.19590)."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from convnn.models.surfaces.field import KernelField
from convnn.models.surfaces.hierarchy import Hierarchy
from convnn.models.surfaces.spline_kernel import Interpolator
from convnn.ops.voxels import Voxels
from golden.case import Case
from golden.entry import Entry


class Fields(nn.Module):
    """The field of a file: solved for, or with the alpha of the file."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        config = case.config
        self.is_solved, self.depths, channels = config["solve"], config["depths"], config["kernel_dim"]
        self.weights = case.pick("pos_weight", "normal_weight", "reg_weight")
        grids = {depth: Voxels(case.tensors[f"ijk.{depth}"]) for depth in self.depths}
        self.range = range(max(self.depths) + 1)
        self.hierarchy = Hierarchy(config["voxel_size"], tuple(grids.get(depth) for depth in self.range))
        sizes = (config["hidden_dim"], config["n_hidden"])
        made = (Interpolator(channels, *sizes) if channels and depth in self.depths else None for depth in self.range)
        self.mlp = nn.ModuleList(one or nn.Identity() for one in made)

    def forward(self, query: Tensor, *given: Tensor | None) -> Mapping[str, Tensor]:
        points, places, targets, *rest = given
        features, alpha = rest[:DEPTHS], rest[DEPTHS:]
        some = [features[depth] if depth in self.depths else None for depth in self.range]
        field = KernelField(self.hierarchy, some if self.mlp and any(z is not None for z in some) else None, self.mlp)
        if self.is_solved:
            field.fit(points, places, -targets, **self.weights, tol=1e-14)
        else:
            field.alpha = [alpha[depth] for depth in self.range]
        value, slope = field(query, grad=True)
        solved = {f"alpha.{depth}": field.alpha[depth] for depth in self.depths} if self.is_solved else {}
        return {"output": value, "output_grad": slope} | solved


DEPTHS = 5
OF_DEPTHS = [f"{name}.{depth}" for name in ("features", "alpha") for depth in range(DEPTHS)]
INPUTS = ("query", "pos_xyz", "normal_xyz", "normal_value", *OF_DEPTHS)


def _names(_: Case) -> dict[str, str]:
    return {f"mlp.{depth}.{layer}": f"mlp.{depth}.layers.{layer}" for depth in range(DEPTHS) for layer in range(9)}


def _structure(case: Case) -> Callable[..., Mapping[str, Tensor]]:
    size, depth = case.config["voxel_size"], case.config["depth"]
    more = case.pick("adaptive_depth", "tau")

    def build(points: Tensor, normals: Tensor) -> Mapping[str, Tensor]:
        found = {"splat": Hierarchy.of_points(points, size, depth)}
        found["adaptive"] = Hierarchy.adaptive(points, normals, size, depth, **more)
        return {
            f"{name}.{level}": voxels.ijk
            for name, one in found.items()
            for level, voxels in enumerate(one.grids)
            if voxels is not None
        }

    return build


ENTRIES = {
    "KernelField": Entry(
        Fields,
        INPUTS,
        names=_names,
        gradients={name: f"grad.{name}" for name in INPUTS},
        aside=("lhs_diag", "lhs_frob", "rhs"),
    ),
    "SparseFeatureHierarchy": Entry(_structure, ("xyz", "normal")),
}
