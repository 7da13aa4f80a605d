"""`convnn train`, which is also `python main.py`."""

import argparse
from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from rich.console import Console

from convnn.cli._callbacks import Curves, NeighborLog
from convnn.cli._flags import Parser, add_config_flags, given_flags
from convnn.cli._images import open_images
from convnn.cli.evaluate import evaluate_network
from convnn.data import ImageData
from convnn.errors import InputError
from convnn.models import Network, create_model
from convnn.train import (
    Callback,
    ConsoleReport,
    Interruption,
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
    summarize,
)
from convnn.train.config_file import read_config_file
from convnn.viz.choices import choosing_layers

SHAPES = {"cifar10": (3, 32, 10), "cifar100": (3, 32, 100), "imagenet": (3, 224, 1000), "digits": (1, 8, 10)}
"""Channels, side and classes of the data sets whose shape is known without reading them."""


def add_flags(parser: Parser) -> None:
    """All published flags and ours."""
    parser.add_argument(
        "--config", default=None, metavar="FILE", help="flags from a TOML file or the args.txt of a run"
    )
    add_config_flags(parser)


def run(args: argparse.Namespace, console: Console) -> None:
    """Train a network, or with `--test_only` evaluate a checkpoint or check shapes."""
    given = ({} if args.config is None else read_config_file(args.config)) | given_flags(args)
    config = TrainConfig(**given)
    if not config.test_only:
        train(given, console, args.interruption)
    elif config.checkpoint is not None:
        network, recipe = load_checkpoint(config.checkpoint)
        evaluate_network(network, recipe, replace(config, fit=given.get("fit", recipe.fit)), console)
    else:
        check_shapes(config, console)


def train(given: dict[str, Any], console: Console, interruption: Interruption) -> None:
    """Train and test a network, leaving a run folder.

    Args:
        given: flags; the others have their defaults, or the values of the run that is resumed.
        console: the screen.
        interruption: what listens for signals.
    """
    point = find_resume_point(given, warn=console.print) if given.get("resume") else None
    config = TrainConfig(**given) if point is None else point.config
    if config.checkpoint is not None:
        raise InputError(f"--checkpoint={config.checkpoint} is read by --test_only; leave it out to train")
    if config.log_neighbors and config.fsdp:
        raise InputError("--log_neighbors needs the whole network in one process; leave out it or --fsdp")
    accelerator = make_accelerator(
        find_device(config.device), use_amp=config.use_amp, deterministic=config.deterministic
    )
    console.quiet = not accelerator.is_main_process
    set_seed(config.seed)
    data = load_images(config, accelerator)
    network = make_network(config, data.image_shape[0], data.num_classes).to(accelerator.device)
    if config.log_neighbors:
        choosing_layers(network)  # refuses a network without neighbours before anything is written
    report = ConsoleReport(console, config.num_epochs)
    callbacks: list[Callback] = [report]
    if accelerator.is_main_process:
        if point is not None:
            point.set_damaged_aside()
        summary = summarize(network, data.image_shape)
        callbacks += make_writers(config, RunFolder(config, network, data, summary), network, point)
        print_summary(console, config, data, summary, accelerator)
    trainer = Trainer(network, data, config, accelerator, callbacks, interruption)
    resume(trainer, point, console)
    try:
        trainer.fit()
    finally:
        report.stop()


def load_images(config: TrainConfig, accelerator: Accelerator) -> ImageData:
    """The images that the flags name, or the part of them that this process trains on.

    Raises:
        InputError: they are all of one class.
    """
    with accelerator.local_main_process_first():  # what has to be fetched is fetched once
        data = open_images(
            config,
            device=accelerator.device,
            process_index=accelerator.process_index,
            num_processes=accelerator.num_processes,
        )
    if data.num_classes < 2:
        raise InputError(
            f"--data_path={config.data_path} has the class {data.classes[0]!r} alone, and nothing to learn;"
            " give each class a folder of its own"
        )
    return data


def make_writers(config: TrainConfig, folder: RunFolder, network: Network, point: ResumePoint | None) -> list[Callback]:
    """What writes into the folder of the run."""
    writers: list[Callback] = [folder, Curves(folder)]
    scalars = TensorBoardLog(folder.path) if config.tensorboard else None
    if scalars is not None:
        writers.append(scalars)
    if config.log_neighbors:
        writers.append(NeighborLog(config, folder.path, network, point, scalars))
    return writers


def resume(trainer: Trainer, point: ResumePoint | None, console: Console) -> None:
    """Let a trainer go on from a checkpoint, if there is one, and say from where."""
    if point is not None:
        trainer.resume(point.checkpoint, point.path)
        done = f"epoch {trainer.position.epoch}, after {trainer.position.step} steps of it"
        console.print(f"going on from {point.path}: {done}", highlight=False, soft_wrap=True)
    elif trainer.config.resume:
        console.print(f"no checkpoint in {trainer.config.output_dir} yet: starting", highlight=False, soft_wrap=True)


def make_network(config: TrainConfig, in_channels: int, num_classes: int) -> Network:
    """The network that the flags describe."""
    return create_model(
        config.model,
        config.layer,
        in_channels=in_channels,
        num_classes=num_classes,
        width=config.width,
        backend=config.backend,
        **config.settings,
    )


def check_shapes(config: TrainConfig, console: Console) -> None:
    """Send a random batch through a fresh network and print the shapes."""
    device = find_device(config.device)
    if config.dataset not in SHAPES:
        raise InputError(f"--dataset={config.dataset} has no shape of its own to check; give a --checkpoint")
    channels, side, classes = SHAPES[config.dataset]
    side = config.resize or side
    set_seed(config.seed)
    network = make_network(config, channels, classes).to(device).eval()
    images = torch.randn(2, channels, side, side, device=device)
    with torch.no_grad():
        logits = network(images)
    console.print(f"{config.model} of {config.layer}: input {tuple(images.shape)}, output {tuple(logits.shape)}")
