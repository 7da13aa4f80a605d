"""Flags of loss, optimizer and learning rate."""

from dataclasses import dataclass

from convnn.train.flags._flag import flags_of

flag = flags_of("optimisation")


@dataclass(frozen=True)
class OptimisationFlags:
    """The help of each field describes it."""

    criterion: str = flag("CrossEntropy", "loss; +Dice is for masks", ("CrossEntropy", "CrossEntropy+Dice", "MSE"))
    optimizer: str = flag("adamw", "optimizer", ("adam", "sgd", "adamw"))
    lr: float = flag(1e-3, "initial learning rate", above=0.0)
    mask_lr_ratio: float = flag(
        0.1, "learning rate of the learned Gaussians of FlexConv and CCNNConv, in units of --lr", least=0.0
    )
    radius_lr_ratio: float = flag(0.1, "learning rate of the radii of SMPConv's points, in units of --lr", least=0.0)
    kernel_lr: float | None = flag(
        1e-3, "learning rate of the values of SGConv's and LongConv's kernels; None: --lr", above=0.0
    )
    weight_decay: float = flag(1e-6, "weight decay", least=0.0)
    kernel_decay: float = flag(
        0.0,
        "weight of the norms of generated kernels and their biases, which is added to the loss of labels in place of"
        " weight decay of the weights that they are computed from",
        least=0.0,
    )
    nyquist_weight: float = flag(
        0.0,
        "weight of the squares by which frequencies of FlexConv's and CCNNConv's kernels exceed what their taps can"
        " represent, which is added to the loss of labels; 0.1 in the published training",
        least=0.0,
    )
    nyquist_target: str = flag(
        "gabor", "whose frequencies these are: of the Gabor filters, or of their Gaussian too", ("gabor", "gabor+mask")
    )
    momentum: float = flag(0.9, "momentum of sgd", least=0.0)
    scheduler: str = flag("none", "schedule of the learning rate", ("step", "cosine", "plateau", "none"))
    warmup_epochs: int = flag(
        0, "epochs in which the learning rate rises linearly from 0, before the scheduler", least=0
    )
    lr_step: int = flag(20, "epochs between decays of the step scheduler", least=1)
    lr_gamma: float = flag(0.1, "decay factor of the step and plateau schedulers", least=0.0)
