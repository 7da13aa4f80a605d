"""GKNet (arXiv 2305.11676): kernels predicted for each pixel."""

from collections.abc import Callable

from torch import Tensor

from convnn.nn.routed.pixel_kernels import PixelKernels2d, pixel_kernel_conv
from golden.case import Case
from golden.entry import Entry

OURS = {"scf.q": "fuse.query", "scf.k": "fuse.key", "scf.v": "fuse.value", "scf.o": "fuse.output"}
OURS |= {"kpb.c1": "predict.features", "kpb.c2": "predict.kernels"}


def _conv(case: Case) -> Callable[[Tensor, Tensor], Tensor]:
    size, groups = case.config["kernel_size"], case.config["groups"]
    if case.tensors["kernels"].shape[1] != groups * size**2:
        raise ValueError(f"groups={groups} is not the number of the kernels")
    return lambda x, kernels: pixel_kernel_conv(x, kernels, size)


def _parts(ours: PixelKernels2d, case: Case) -> dict[str, Tensor]:
    fused = ours.fuse(*(case.tensors[name] for name in ("input", "reference", "background")))
    return {"fused": fused, "kernels": ours.predict(fused)}


ENTRIES = {
    "pixel kernel convolution": Entry(_conv, ("input", "kernels")),
    "global-aware kernel block (SCF + KPB + modulation)": Entry(
        lambda case: PixelKernels2d(**case.pick("channels", "dim", "top", "groups", "kernel_size")),
        ("input", "reference", "mask", "background"),
        names=OURS,
        also=_parts,
    ),
}
