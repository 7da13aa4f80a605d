"""Train a network."""

import argparse
import shlex
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console

from convnn.cli._flags import add_config_flags, flag_names, given_flags
from convnn.cli._help import brief_help
from convnn.cli._images import check_criterion, check_inputs, kind_read, open_data, open_part, remembered_data
from convnn.cli._parser import HelpAllAction, Parser, PathAction
from convnn.cli.evaluate import evaluate_network
from convnn.data import (
    GRAPH_SETS,
    INTERACTION_SETS,
    KNOWN_SHAPES,
    MIXTURE_SETS,
    PANORAMA_SETS,
    RASTERS,
    SEGMENTATION_SETS,
    SIGNALS,
    TRIPLE_SETS,
    UNLABELLED_SETS,
    LabelledData,
)
from convnn.data.stream import count_cores
from convnn.errors import InputError
from convnn.models import ExternalNetwork, FullyConvolutional, Network, OwnLoss, create_model, sizes_of
from convnn.nn import GeneratedConv, import_layers
from convnn.screen import print_line, show_activity
from convnn.train import (
    Callback,
    ConsoleReport,
    Interrupted,
    Interruption,
    NetworkSummary,
    ResumePoint,
    RunFolder,
    TensorBoardLog,
    TrainConfig,
    Trainer,
    find_device,
    find_resume_point,
    load_checkpoint,
    make_accelerator,
    print_summary,
    start_from,
    summarize,
)
from convnn.train.config_file import read_config_file
from convnn.train.flags.objectives import ObjectiveFlags
from convnn.train.machine import describe_change, saved_threads
from convnn.train.schemes import make_objective
from convnn.train.summary import example_for
from convnn.words import counted

if TYPE_CHECKING:
    from accelerate import Accelerator


Acceptance = Callable[[TrainConfig], None]
"""What refuses the flags of a run, those of the resumed one included."""

OF_OBJECTIVES = tuple(f.name for f in fields(ObjectiveFlags))
"""Flags of which the losses know the names."""


def add_flags(parser: Parser, usual: str = TrainConfig.model) -> None:
    """Add all flags of training to a parser, whose short help is of the `usual` network if none is named."""
    parser.brief = partial(brief_help, parser.prog, usual=usual)
    parser.add_argument(
        "--help-all", action=HelpAllAction, nargs=0, help="show all flags, by the layers that read them"
    )
    parser.add_argument(
        "--config",
        action=PathAction,
        default=None,
        metavar="FILE",
        help="read flags from a TOML file or the args.txt of a run",
    )
    add_config_flags(parser)


def run(args: argparse.Namespace, console: Console, accept: Acceptance | None = None) -> None:
    """Train a network that an application accepts, or with `--test_only` evaluate a checkpoint or check shapes."""
    given = ({} if args.config is None else read_config_file(args.config)) | given_flags(args)
    import_layers(given.get("imports"))
    config = TrainConfig(**given)
    warn_of_unread(given_flags(args), config, console)
    if config.test_only and config.init_from is not None:
        raise InputError(f"--init_from={config.init_from} applies to training only; to evaluate, give --checkpoint")
    if config.test_only and config.pretrained:
        raise InputError("--pretrained applies to training only; leave it out to evaluate")
    if not config.test_only:
        with flag_names({name: name for name in ("resize", *config.settings, *OF_OBJECTIVES)}):
            train(given, console, args.interruption, accept)
    elif config.checkpoint is not None:
        network, recipe = load_checkpoint(config.checkpoint)
        evaluate_network(
            network,
            recipe,
            replace(config, **remembered_data(recipe, given), fit=given.get("fit", recipe.fit)),
            console,
        )
    else:
        with flag_names({name: name for name in ("resize", *config.settings)}):
            check_shapes(config, console)


def warn_of_unread(given: Iterable[str], config: TrainConfig, console: Console) -> None:
    """Name the flags that have no effect, because neither the network nor its layer reads them."""
    unread = config.unread()
    if ignored := [f"--{name}" for name in given if name in unread]:
        print_line(console, f"not read by {config.model} of {config.layer}: {', '.join(ignored)}")


def train(
    given: dict[str, Any], console: Console, interruption: Interruption, accept: Acceptance | None = None
) -> None:
    """Train and test a network, and write a run folder.

    Args:
        given: flags; the others have their defaults, or the values of the resumed run.
        console: console to print on.
        interruption: handler of signals.
        accept: refuses the flags of a run that an application does not train.
    """
    say = partial(print_line, console)
    point = find_resume_point(given, warn=say) if given.get("resume") else None
    config = TrainConfig(**given) if point is None else point.config
    if config.checkpoint is not None:
        raise InputError(f"--checkpoint={config.checkpoint} applies to --test_only; leave it out to train")
    if accept is not None:
        accept(config)
    check_data(config)
    if config.log_neighbors and config.fsdp:
        raise InputError("--log_neighbors needs the whole network in one process; leave out --log_neighbors or --fsdp")
    if config.sparsity and config.fsdp:
        raise InputError(f"--sparsity={config.sparsity} needs whole kernels in one process; leave it out, or --fsdp")
    from accelerate.utils import set_seed  # takes half a second to import

    accelerator = make_accelerator(
        find_device(config.device), use_amp=config.use_amp, deterministic=config.deterministic
    )
    console.quiet = not accelerator.is_main_process
    config = fix_threads(config, is_new=point is None)
    set_seed(config.seed)
    data = open_share(config, accelerator)
    with accelerator.local_main_process_first():  # downloads happen once
        network = make_network(config, data.input_shape, data.num_classes, pretrained=config.pretrained and not point)
    network.to(accelerator.device)
    if (of_library := library_network(network)) is not None and config.pretrained and point is None:
        describe_pretrained(of_library, config, say)
    if config.init_from is not None and point is None:
        initialise(network, config.init_from, data, console)
    if config.log_neighbors:
        from convnn.viz.choices import choosing_layers

        choosing_layers(network)  # refuses a network without neighbours before anything is written
    objective = make_objective(network, config, data).to(accelerator.device)
    report = ConsoleReport(console, config.num_epochs, f"{data.kind}s")
    callbacks: list[Callback] = [report]
    if accelerator.is_main_process:
        with show_activity(console, f"counting the operations of one {data.kind}"):
            summary = summarize(network, data.input_shape, data.kind)
        callbacks += make_writers(config, network, data, summary, point, say)
        print_summary(console, config, data, summary, accelerator)
        print_replaced(network, config, console)
    trainer = Trainer(network, data, config, accelerator, callbacks, interruption, objective)
    is_over = resume(trainer, point, console)
    try:
        results = trainer.fit()
    except Interrupted:
        say(f"to resume: {resume_command(config)}")
        raise
    finally:
        report.stop()
    if not is_over and len(results) < config.num_epochs:
        say(f"stopped after {len(results)} of {counted(config.num_epochs, 'epoch')}: {trainer.stop_reason()}")


def check_data(config: TrainConfig) -> None:
    """Refuse a network and a loss that do not suit the data set.

    Raises:
        InputError: they do not fit; the message names both and what would.
    """
    check_inputs(config)
    check_criterion(config)
    if config.log_neighbors and config.dataset in SEGMENTATION_SETS:
        raise InputError(
            f"--log_neighbors is for one class of an image, but --dataset={config.dataset} has one for every pixel;"
            " leave it out"
        )
    if config.log_neighbors and (reads := kind_read(config.model)) != "images":
        raise InputError(f"--log_neighbors is for images, but --model={config.model} reads {reads}; leave it out")


def print_replaced(network: Network, config: TrainConfig, console: Console) -> None:
    """Print how many layers of a network of another library were replaced."""
    of_library = library_network(network)
    if of_library is not None and (report := of_library.report) is not None:
        replaced = f"{len(report.replaced)} of {counted(len(report.fates), 'layer')} replaced by {config.layer}"
        first = next(iter(report.left), None)
        print_line(console, replaced + ("" if first is None else f"; {first.name} was kept: {first.reason}"))


def library_network(network: Network) -> ExternalNetwork | None:
    """Return the network of another library in a network, or None if there is none."""
    inner = network.network if isinstance(network, FullyConvolutional) else network
    return inner if isinstance(inner, ExternalNetwork) else None


def resume_command(config: TrainConfig) -> str:
    """Return the command that resumes a run."""
    imports = ["--import", config.imports] if config.imports else []
    return shlex.join(["convnn", "train", "--resume", config.output_dir, *imports])


def fix_threads(config: TrainConfig, *, is_new: bool) -> TrainConfig:
    """Set the number of threads: that of the flag, of the first start of the run, or else of this process.

    Args:
        config: the flags; those of a resumed run include its number of threads.
        is_new: there is no checkpoint; a run interrupted before its first checkpoint has left args.txt.

    Returns:
        The flags with the number of threads, which is the same in all processes.
    """
    threads = config.threads
    if threads is None and is_new and config.resume is not None:
        threads = saved_threads(Path(config.output_dir))
    from accelerate.utils import broadcast_object_list

    [threads] = broadcast_object_list([torch.get_num_threads() if threads is None else threads])
    torch.set_num_threads(threads)
    return replace(config, threads=threads)


def initialise(network: Network, path: str, data: LabelledData, console: Console) -> None:
    """Load the weights of `--init_from`, and report the layers that keep their random initialisation."""
    fresh = start_from(network, path, data.num_classes)
    rest = f"; randomly initialised, because the number of classes differs: {', '.join(fresh)}" if fresh else ""
    print_line(console, f"starting from the weights of {path}{rest}")


def describe_pretrained(network: ExternalNetwork, config: TrainConfig, say: Callable[[str], None]) -> None:
    """Report which layers of a pretrained network are randomly initialised."""
    fresh = list(network.fresh)
    if network.report is not None and not network.keeps_weights:
        fresh.append(f"{counted(len(network.report.replaced), 'layer')} replaced by --layer={config.layer}")
    rest = f"; randomly initialised: {', '.join(fresh)}" if fresh else ""
    say(f"starting from the weights of {config.model}{rest}")


def open_share(config: TrainConfig, accelerator: "Accelerator") -> LabelledData:
    """Load the images that the flags select, or the share of this process.

    Raises:
        InputError: they all belong to one class.
    """
    with accelerator.local_main_process_first():  # downloads happen once
        data = open_data(
            config,
            device=accelerator.device,
            process_index=accelerator.process_index,
            num_processes=accelerator.num_processes,
        )
    if data.num_classes < 2 and data.task == "classification":
        raise InputError(
            f"--data_path={config.data_path} has only the class {data.classes[0]!r}, so there is nothing to learn;"
            " give each class a folder of its own"
        )
    return data


def make_writers(
    config: TrainConfig,
    network: Network,
    data: LabelledData,
    summary: NetworkSummary,
    point: ResumePoint | None,
    say: Callable[[str], None],
) -> list[Callback]:
    """Return the callbacks that write into the folder of the run."""
    from convnn.cli._callbacks import Curves, KernelLog, MaskSheet, NeighborLog  # these import Matplotlib

    scalars = TensorBoardLog(Path(config.output_dir)) if config.tensorboard else None  # first, because it may refuse
    folder = RunFolder(config, network, data, summary, point, warn=say)
    writers: list[Callback] = [folder, Curves(folder, warn=say)]
    if scalars is not None:
        writers.append(scalars)
    if not config.fsdp and any(isinstance(part, GeneratedConv) and part.learns_size for part in network.modules()):
        writers.append(KernelLog(folder.path, network, data.input_shape, point))
    if data.task == "segmentation" and not config.fsdp:
        writers.append(MaskSheet(config, folder.path, network, say))
    if config.log_neighbors:
        writers.append(NeighborLog(config, folder.path, network, point, scalars))
    return writers


def resume(trainer: Trainer, point: ResumePoint | None, console: Console) -> bool:
    """Resume a trainer from a checkpoint, if there is one, and report its position.

    Returns:
        Whether there is no epoch left to train.
    """
    if point is None:
        if trainer.config.resume:
            print_line(console, f"no checkpoint in {trainer.config.output_dir} yet: starting from the beginning")
        return False
    trainer.resume(point.checkpoint, point.path)
    reason = trainer.stop_reason()
    if reason is not None:
        print_line(console, f"nothing left to train for {point.path}: {reason}")
        return True
    if trainer.accelerator.is_main_process:
        point.rename_damaged()
    position = f"epoch {trainer.position.epoch}, after {counted(trainer.position.step, 'step')} of it"
    print_line(console, f"resuming from {point.path}: {position}")
    if (change := describe_change(point.machine)) is not None:
        print_line(console, change)
    if (threads := torch.get_num_threads()) > (cores := count_cores()):
        print_line(
            console,
            f"its {threads} threads share {cores} cores; --threads {cores} is faster, but changes the last bits",
        )
    return False


def known_shape(config: TrainConfig) -> tuple[tuple[int, ...], str, int]:
    """Return the shape and the kind of the samples of a data set, and its number of classes.

    Raises:
        InputError: they are not known without the files.
    """
    made = (*SIGNALS, *GRAPH_SETS, *INTERACTION_SETS, *TRIPLE_SETS, *MIXTURE_SETS, *PANORAMA_SETS, "airways")
    made += sum(UNLABELLED_SETS.values(), ())
    if config.dataset in made:  # or read in no time
        part = open_part(config, "test", limit_test=1)
        return part.input_shape, part.kind, len(part.classes)
    images = config.dataset.removeprefix("sequential_")
    if images not in KNOWN_SHAPES:
        raise InputError(f"--dataset={config.dataset} has no fixed image shape to check; give --checkpoint")
    (channels, *sides), classes = KNOWN_SHAPES[images]
    height, width = sides if config.resize is None else (config.resize, config.resize)
    if config.dataset not in RASTERS:
        return (channels, height, width), "image", classes
    samples = -(-height * width // (config.subsample or 1)) // (config.average or 1)
    return (channels, samples), "sequence", classes


def make_network(config: TrainConfig, shape: tuple[int, ...], num_classes: int, *, pretrained: bool = False) -> Network:
    """Create the network that the flags describe for inputs of a shape, randomly initialised or pretrained."""
    return create_model(
        config.model,
        config.layer,
        num_classes=num_classes,
        width=config.width,
        pretrained=pretrained,
        backend=config.backend,
        dense=config.dataset in SEGMENTATION_SETS,
        **sizes_of(config.model, shape),
        **config.settings,
    )


def check_shapes(config: TrainConfig, console: Console) -> None:
    """Run a batch of zeros through a new network and print the shapes."""
    from accelerate.utils import set_seed

    device = find_device(config.device)
    check_data(config)
    shape, kind, classes = known_shape(config)
    set_seed(config.seed)
    network = make_network(config, shape, classes).to(device).eval()
    with torch.no_grad():
        found = network(example_for(network, shape, kind, count=2, device=device))
    print_replaced(network, config, console)
    out = f"loss of {', '.join(found.terms)}" if isinstance(network, OwnLoss) else f"output {tuple(found.shape)}"
    sizes = f"input {(2, *shape)}, {out}"
    print_line(console, f"{config.model} of {config.layer}: {sizes}")
