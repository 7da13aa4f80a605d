"""Kernels updated by prototypes, and the foreground of any class (arXiv 2308.04952)."""

from collections.abc import Mapping

from torch import Tensor

from convnn.nn import PrototypicalKernelHead, novel_kernel
from convnn.nn.routed.prototypes import masked_means
from convnn.tasks.segment.foreground import ForegroundPerception, conditional_bias_argmax
from golden.case import Case
from golden.entry import Entry


def _head(case: Case) -> PrototypicalKernelHead:
    return PrototypicalKernelHead(**case.pick("channels", "scale", "stages", num_classes="classes"))


def _novel(case: Case):
    if case.config["shots"] != len(case.tensors["support"]):
        raise ValueError(f"shots={case.config['shots']} is not the number of the support")
    return novel_kernel


def _shots(_: object, case: Case) -> Mapping[str, Tensor]:
    support, mask = case.tensors["support"], case.tensors["mask"]
    return {"shot_prototypes": masked_means(support, mask.to(support).unsqueeze(1))[0][:, 0]}


def _decided(ours: ForegroundPerception, case: Case) -> Mapping[str, Tensor]:
    logits, beta, threshold = case.tensors["class_logits"], case.config["beta"], case.config["threshold"]
    return {"prediction": conditional_bias_argmax(logits, ours(case.tensors["input"]), beta, threshold)}


ENTRIES = {
    "PrototypicalKernelHead": Entry(
        _head, ("input", "label", "novel"), outputs=("output", "initial_logits", "kernels")
    ),
    "novel class registration": Entry(
        _novel, ("support", "mask", "base_kernels"), outputs=("novel_kernel",), also=_shots
    ),
    "foreground branch + conditional bias": Entry(
        lambda case: ForegroundPerception(**case.pick("channels", "hidden")), also=_decided
    ),
}
