"""Flags of distillation: who teaches, and what."""

from dataclasses import dataclass
from typing import Any

from convnn.objectives.distillation.logits import KINDS
from convnn.objectives.distillation.spatial import DECAYS
from convnn.train.flags._flag import flags_of

flag = flags_of("distillation")

LOSSES = ("logits", "ofa", "cskd")
READ_BY = {
    "distill_exponents": ("ofa",),
    "distill_layers": ("ofa",),
    "distill_token": ("cskd",),
    "distill_patches": ("cskd",),
    "distill_decay": ("cskd",),
}
"""The losses that read a flag; the other flags are read by all."""


def is_read(name: str, config: Any) -> bool:
    """Return whether a flag of distillation has an effect on a run with these flags, a `TrainConfig`."""
    return name == "distill" or (config.distill is not None and config.distill_loss in READ_BY.get(name, LOSSES))


@dataclass(frozen=True)
class DistillationFlags:
    """The help of each field describes it."""

    distill: str | None = flag(
        None, "learn also from a teacher: a checkpoint, the folder of a run, or timm:NAME with --distill_checkpoint"
    )
    distill_checkpoint: str | None = flag(
        None, "file with the weights of a teacher of timm or torchvision; nothing is downloaded", is_path=True
    )
    distill_loss: str = flag("logits", "what of the teacher is learned: logits, or as in OFA-KD or CSKD", LOSSES)
    distill_weights: str = flag(
        "", "weights of the terms of the loss, the labels' first, such as 1,0.5,2; empty: 1 each, for cskd 0.5,0.5,1"
    )
    distill_temperature: float = flag(1.0, "temperature of both networks' probabilities", above=0.0)
    distill_exponents: str = flag("1", "exponents of ofa: one, or one for each layer and then that of the logits")
    distill_layers: str = flag(
        "", "layers of the student that ofa projects, such as stages.1,stages.3 or blocks.5=3; empty: four of them"
    )
    distill_token: str = flag("hard", "what cskd's token learns: the teacher's class, or all probabilities", KINDS)
    distill_patches: str = flag("hard", "what the patches learn of the teacher's map", KINDS)
    distill_decay: str = flag(
        "linear", "how the share of each place's own answer falls against that of the whole image", tuple(DECAYS)
    )
