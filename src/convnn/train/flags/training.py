"""Flags of the training loop."""

from dataclasses import dataclass

from convnn.train.flags._flag import flags_of

flag = flags_of("training")


@dataclass(frozen=True)
class TrainingFlags:
    """The help of each field describes it."""

    batch_size: int = flag(256, "images or graphs per step, over all processes", least=1)
    num_epochs: int = flag(150, "number of epochs", least=1)
    use_amp: bool = flag(False, "mixed precision: bfloat16 if the device supports it, otherwise float16")
    use_compiled: bool = flag(False, "compile the network with torch.compile")
    compile_mode: str = flag(
        "default",
        "mode of torch.compile; reduce-memory keeps half of the activations",
        ("default", "reduce-overhead", "reduce-memory", "max-autotune"),
    )
    accumulate: int = flag(
        1,
        "accumulate the gradients of this many batches per step: the effect of a larger batch in less memory",
        least=1,
    )
    init_from: str | None = flag(
        None,
        "start from the weights of a checkpoint; a head with another number of classes is initialised at random",
        is_path=True,
    )
    patience: int | None = flag(
        None, "stop after this many epochs without a better top-1 on val, or on test if there is no val", least=1
    )
    clip_grad_norm: float = flag(1.0, "largest norm of the gradient; 0: no clipping", least=0.0)
    detect_anomaly: bool = flag(False, "report the operation whose gradient becomes NaN; slow")
    deterministic: bool = flag(False, "bitwise reproducible on CUDA; the CPU always is")
    sync_batchnorm: bool = flag(True, "synchronise batch normalisation over all processes")
    fsdp: bool = flag(False, "shard weights and optimizer state over processes (FSDP)")
