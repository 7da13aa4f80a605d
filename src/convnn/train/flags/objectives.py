"""Flags of what is learned: labels, or who belongs together."""

from dataclasses import dataclass

from convnn.train.flags._flag import WIDEST, flags_of

flag = flags_of("objectives")

OF_IMAGES = ("infonce", "spectral")
"""Objectives that learn from two views of each image, without labels."""

OBJECTIVES = ("labels", *OF_IMAGES)


@dataclass(frozen=True)
class ObjectiveFlags:
    """The help of each field describes it."""

    objective: str = flag(
        "labels",
        "what the network learns: labels, by --criterion; or, without labels, that two views of an image belong"
        " together, while its last linear layer alone learns the labels, from features that it does not change",
        OBJECTIVES,
    )
    temperature: float = flag(0.1, "temperature of the kernel of infonce", above=0.0)
    gamma: float = flag(2.0, "power of the distance in this kernel: 2 is a Gaussian, InfoNCE as usual", above=0.0)
    mixture: str = flag(
        "none",
        "mixture of the kernel with a Gaussian: of the losses (sum), of losses of half the columns each (concat), or of"
        " the kernels",
        ("none", "sum", "concat", "kernel"),
    )
    mixture_weight: float = flag(1.0, "weight of the kernel in the mixture, 0 to 1", least=0.0, most=1.0)
    negatives: int | None = flag(
        None, "how many of the nearest other images repel each image in infonce; None: all of the batch", least=1
    )
    projection_dim: int = flag(128, "channels in which views are compared", least=1, most=WIDEST)
    projection_hidden: int = flag(2048, "channels before them", least=1, most=WIDEST)
