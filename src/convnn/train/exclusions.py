"""Which flags of a run exclude each other."""

from typing import Any

from convnn.data import SEGMENTATION_SETS
from convnn.errors import InputError, check_at_least
from convnn.models import is_external, own_loss_of, reads_of


def check_exclusions(config: Any) -> None:
    """Refuse flags that exclude each other.

    Args:
        config: a `TrainConfig`.

    Raises:
        InputError: the flags cannot be given together; the message names them.
    """
    check_at_least("--K", config.K, 0 if is_external(config.model) else 1)
    if config.pretrained and not is_external(config.model):
        raise InputError(f"--pretrained is for networks torchvision:NAME and timm:NAME, not for --model={config.model}")
    if config.pretrained and config.init_from is not None:
        raise InputError(f"--pretrained and --init_from={config.init_from} both say how to start; give one of them")
    if config.fsdp and config.share_kernels != "none":
        raise InputError(
            f"--fsdp divides the weights of every block by itself, and --share_kernels={config.share_kernels} gives"
            " one to several; give one of them"
        )
    if config.reduce_tokens != "none" and not config.reads("reduce_tokens"):
        raise InputError(
            f"--reduce_tokens={config.reduce_tokens} is for vision transformers, vit and those of timm, not for"
            f" --model={config.model}"
        )
    if config.dataset in SEGMENTATION_SETS:
        _check_dense(config)
    if config.fsdp and config.reduce_tokens != "none":
        raise InputError(
            f"--fsdp gathers the weights of a whole block, and --reduce_tokens={config.reduce_tokens} computes its two"
            " halves by themselves; give one of them"
        )
    if config.distill is not None and config.distill_loss == "cskd" and config.reduce_tokens != "none":
        raise InputError(
            f"--distill_loss=cskd teaches every patch, and --reduce_tokens={config.reduce_tokens} drops some; give one"
            " of them"
        )
    if config.distill is not None and reads_of(config.model) == "interactions":
        raise InputError(
            f"--distill={config.distill} teaches classes, but --model={config.model} ranks items for users; leave it"
            " out"
        )
    if config.distill is not None and config.objective != "labels":
        raise InputError(
            f"--objective={config.objective} learns without labels or a teacher; leave it out, or"
            f" --distill={config.distill}"
        )
    if config.distill is not None and config.fsdp:
        raise InputError(
            f"--fsdp divides the student among the processes, but --distill={config.distill} reads whole layers; give"
            " one of them"
        )
    if config.objective != "labels" and config.fsdp:
        raise InputError(
            f"--fsdp divides the network among the processes, but --objective={config.objective} trains weights beside"
            " it; give one of them"
        )
    for name in PENALTIES:
        check_penalty(config, name)
    if own_loss_of(config.model) is not None:
        check_own_loss(config)
    if config.distill is None and config.distill_checkpoint is not None:
        raise InputError(
            f"--distill_checkpoint={config.distill_checkpoint} is of a teacher; name its network, such as"
            " --distill timm:resnet18"
        )
    if config.warmup_epochs >= config.num_epochs:
        raise InputError(f"--warmup_epochs={config.warmup_epochs} must be less than --num_epochs={config.num_epochs}")


PENALTIES = ("kernel_decay", "nyquist_weight")
"""Weights of penalties on generated kernels, which are off at 0."""


def check_penalty(config: Any, name: str) -> None:
    """Refuse a penalty on generated kernels where it is not added to the loss.

    Raises:
        InputError: something else than labels is learned, or the network is divided; the message names the flags.
    """
    weight = getattr(config, name)
    if not weight:
        return
    if own_loss_of(config.model) is not None:
        raise InputError(
            f"--{name}={weight} is added to the loss of labels, but --model={config.model} has a loss of its own; leave"
            " it out"
        )
    if config.objective != "labels":
        raise InputError(
            f"--{name}={weight} is added to the loss of labels, but --objective={config.objective} is another; give one"
            " of them"
        )
    if config.distill is not None:
        raise InputError(
            f"--{name}={weight} is added to the loss of labels, but --distill={config.distill} is another; give one of"
            " them"
        )
    if config.fsdp:
        raise InputError(
            f"--fsdp divides the network among the processes, but --{name}={weight} reads whole kernels; give one of"
            " them"
        )


def check_own_loss(config: Any) -> None:
    """Refuse flags of other losses for a network that has one of its own.

    Raises:
        InputError: one is given; the message names it.
    """
    others = {"objective": "labels", "criterion": "CrossEntropy", "distill": None}
    for name, nothing in others.items():
        if (value := getattr(config, name)) != nothing:
            raise InputError(
                f"--{name}={value} is for networks of classes, but --model={config.model} has a loss of its own; leave"
                " it out"
            )
    if config.fsdp:
        raise InputError(
            f"--fsdp divides the network before it has seen a batch, but --model={config.model} is prepared by one;"
            " leave it out"
        )


def _check_dense(config: Any) -> None:
    """Refuse flags that need one class for the whole image, where every pixel has one."""
    dataset = f"--dataset={config.dataset} has a class for every pixel"
    if config.reduce_tokens != "none":
        raise InputError(f"--reduce_tokens={config.reduce_tokens} leaves out places, but {dataset}; leave it out")
    if config.distill is not None:
        raise InputError(f"--distill={config.distill} teaches one class for an image, but {dataset}; leave it out")
    if config.objective != "labels":
        raise InputError(f"--objective={config.objective} compares whole images, but {dataset}; leave it out")
