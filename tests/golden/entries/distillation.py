"""Distillation between architectures (OFA-KD, arXiv 2310.19444) and of responses at places (CSKD, arXiv 2307.08500)."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.objectives import distillation
from golden.case import Case
from golden.entry import Entry

STAGES = (1, 2, 3, 4)
FEATURES = tuple(f"feature.{stage}" for stage in STAGES)
MOST_PARTS = 6
OF_TOKENS = {
    "attn.qkv.weight": "self_attn.in_proj_weight",
    "attn.proj": "self_attn.out_proj",
    "mlp.fc1": "linear1",
    "mlp.fc2": "linear2",
}


def _ofa_loss(case: Case) -> Callable[..., dict[str, Tensor]]:
    temperature = case.config["temperature"]

    def losses(student: Tensor, teacher: Tensor, label: Tensor) -> dict[str, Tensor]:
        student, found = student.detach().requires_grad_(), {}
        for exponent in case.config["eps"]:
            loss = distillation.ofa_loss(student, teacher, label, exponent=exponent, temperature=temperature)
            [found[f"grad.eps{exponent}"]] = torch.autograd.grad(loss, student)
            found[f"loss.eps{exponent}"] = loss
        return found | {"kd_loss": distillation.logit_distillation(student, teacher, temperature=temperature)}

    return losses


class _Losses(distillation.OFADistillation):
    """All losses of a file by their published names; weights and smoothing of the labels' are those of its training."""

    config: Mapping[str, Any]

    def forward(self, student: Tensor, teacher: Tensor, label: Tensor, *features: Tensor | None) -> dict[str, Tensor]:
        found = {name: one for name, one in zip(map(str, STAGES), features, strict=True) if one is not None}
        of_labels = F.cross_entropy(student, label, label_smoothing=self.config["label_smoothing"])
        of_logits, of_features = super().forward(student, found, teacher, label)
        parts = {"gt": of_labels, "kd": of_logits, "ofa": of_features}
        parts = {name: self.config["weights"][name] * part for name, part in parts.items()}
        heads = {} if self.training else self.project(found)  # a second pass would move the statistics
        return (
            {"loss": sum(parts.values())}
            | {f"loss_{name}": part for name, part in parts.items()}
            | {f"head.{name}": head for name, head in heads.items()}
        )


def _ofa(case: Case) -> _Losses:
    config, projectors = case.config, {}
    for stage in config["stages"]:
        projectors[str(stage)] = distillation.make_projector(
            tuple(case.tensors[f"feature.{stage}"].shape[1:]),
            config["num_classes"],
            stage=stage,
            class_tokens=config["num_tokens"],
            **case.pick("student_dim", "teacher_dim"),
        )
    assert config["heads"] == distillation.projectors.HEADS
    ours = _Losses(projectors, exponents=config["eps"], temperature=config["temperature"])
    ours.config = config
    return ours


def _ofa_names(case: Case) -> dict[str, str]:
    """Name the parts of projectors: ours of maps are sequences, and ours of tokens have names for their parts."""
    stages = case.config["stages"]
    if case.tensors[f"feature.{stages[0]}"].dim() == 4:
        return {f"{k}.{part}": f"projectors.{k}.{part}" for k in stages for part in range(MOST_PARTS)} | {"op": ""}
    parts = {"0.fn": "merge", "1": "blocks", "3": "head"}
    return OF_TOKENS | {f"{k}.{theirs}": f"projectors.{k}.{ours}" for k in stages for theirs, ours in parts.items()}


def _cskd(case: Case) -> Callable[..., dict[str, Tensor]]:
    config = case.config
    scheme = distillation.CSKD(
        alpha=config["deit_alpha"],
        weight=config["cksd_loss_weight"],
        token=config["deit_loss_type"],
        patches=config["cskd_loss_type"],
        temperature=config["deit_tau"],
        decay=config["cskd_decay_func"],
    )
    ratio = scheme.ratio(config["epoch"], config["max_epoch"])

    def losses(student: Tensor, token: Tensor, patches: Tensor, teacher: Tensor, label: Tensor) -> dict[str, Tensor]:
        of_labels = F.cross_entropy(student, label)
        of_token, of_patches = scheme.losses(token, patches, teacher, ratio)
        return {
            "loss": scheme.total(of_labels, of_token, of_patches),
            "loss_base": of_labels,
            "loss_deit": of_token,
            "loss_cskd": of_patches,
            "decay_ratio": torch.tensor(ratio, dtype=torch.float64),
            "fused": distillation.fuse_responses(teacher, ratio),
        }

    return losses


def _grads(*names: str) -> dict[str, str]:
    return {name: f"grad.{name}" for name in names}


ENTRIES = {
    "ofa_loss": Entry(_ofa_loss, inputs=("student", "teacher", "label"), outputs=("loss",)),
    "OFA": Entry(
        _ofa,
        inputs=("student", "teacher", "label", *FEATURES),
        outputs=("loss",),
        names=_ofa_names,
        gradients=_grads("student", *FEATURES),
    ),
    "CSKDLoss": Entry(
        _cskd,
        inputs=("student", "student_dist", "student_dense", "teacher_dense", "label"),
        outputs=("loss",),
        gradients=_grads("student", "student_dist", "student_dense"),
    ),
}
