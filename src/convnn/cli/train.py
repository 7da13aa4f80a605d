"""`convnn train`, which is also `python main.py`."""

import argparse

import torch
from accelerate.utils import set_seed
from rich.console import Console

from convnn.cli._flags import Parser, add_config_flags, config_from
from convnn.cli.evaluate import evaluate_network
from convnn.data import load_data
from convnn.errors import InputError
from convnn.models import Network, create_model
from convnn.train import (
    Callback,
    ConsoleReport,
    EpochResult,
    RunFolder,
    TensorBoardLog,
    TrainConfig,
    Trainer,
    find_device,
    load_checkpoint,
    make_accelerator,
    print_summary,
    summarize,
)
from convnn.viz import draw_curves

SHAPES = {"cifar10": (3, 32, 10), "cifar100": (3, 32, 100), "imagenet": (3, 224, 1000), "digits": (1, 8, 10)}
"""Channels, side and classes of the data sets whose shape is known without reading them."""


def add_flags(parser: Parser) -> None:
    """All published flags and ours."""
    add_config_flags(parser)


def run(args: argparse.Namespace, console: Console) -> None:
    """Train a network, or with `--test_only` evaluate a checkpoint or check shapes."""
    config = config_from(args)
    if not config.test_only:
        train(config, console)
    elif config.checkpoint is not None:
        evaluate_network(*load_checkpoint(config.checkpoint), config, console)
    else:
        check_shapes(config, console)


def train(config: TrainConfig, console: Console) -> None:
    """Train and test a network, leaving a run folder."""
    if config.checkpoint is not None:
        raise InputError(f"--checkpoint={config.checkpoint} is read by --test_only; leave it out to train anew")
    device = find_device(config.device)
    set_seed(config.seed)
    data = load_data(
        config.dataset,
        config.data_path,
        batch_size=config.batch_size,
        resize=config.resize,
        augment=config.augment,
        noise=config.noise,
        seed=config.seed,
        device=device,
        num_workers=config.num_workers,
        download=config.download,
        limit_train=config.limit_train,
        limit_test=config.limit_test,
    )
    network = make_network(config, data.image_shape[0], data.num_classes).to(device)
    summary = summarize(network, data.image_shape)
    folder = RunFolder(config, network, data, summary)
    report = ConsoleReport(console, config.num_epochs)
    callbacks: list[Callback] = [report, folder, Curves(folder)]
    if config.tensorboard:
        callbacks.append(TensorBoardLog(folder.path))
    print_summary(console, config, data, summary, device)
    accelerator = make_accelerator(device, use_amp=config.use_amp)
    try:
        Trainer(network, data, config, accelerator, callbacks).fit()
    finally:
        report.stop()


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


class Curves(Callback):
    """Redraws curves.png from metrics.csv after every epoch."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    def on_epoch_end(self, result: EpochResult) -> None:
        """Draw."""
        draw_curves(self.folder.metrics, self.folder.path / "curves.png")
