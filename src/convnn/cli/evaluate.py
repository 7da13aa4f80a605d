"""`convnn evaluate`: the accuracy of a checkpoint."""

import argparse

from rich.console import Console

from convnn.cli._flags import Parser, PathAction, add_config_flags, config_from
from convnn.cli._images import open_images
from convnn.data import ImageData
from convnn.errors import InputError
from convnn.models import Network
from convnn.train import Recipe, TrainConfig, evaluate, find_device, load_checkpoint, make_accelerator

FLAGS = (
    "imports",
    "data_path",
    "noise",
    "limit_test",
    "on_bad_image",
    "num_workers",
    "batch_size",
    "use_amp",
    "criterion",
    "device",
    "seed",
)


def add_flags(parser: Parser) -> None:
    """The checkpoint, the images and the device."""
    parser.add_argument("checkpoint", action=PathAction, help="weights of a run, such as runs/demo/best.safetensors")
    parser.add_argument("--dataset", default=None, help="images to test on; those it was trained on when left out")
    add_config_flags(parser, only=FLAGS)


def run(args: argparse.Namespace, console: Console) -> None:
    """Print loss and accuracies."""
    network, recipe = load_checkpoint(args.checkpoint)
    config = config_from(args, dataset=args.dataset or recipe.dataset)
    evaluate_network(network, recipe, config, console)


def evaluate_network(network: Network, recipe: Recipe, config: TrainConfig, console: Console) -> None:
    """Print loss and accuracies of a checkpoint's network on the test images that the flags name."""
    device = find_device(config.device)
    data = load_test_images(recipe, config)
    accelerator = make_accelerator(device, use_amp=config.use_amp)
    model = accelerator.prepare(network.to(device))
    scores = evaluate(model, data.test, config.criterion, accelerator)
    console.print(
        f"{recipe.model} of {recipe.layer}, epoch {recipe.epoch}, on {data.test.num_samples:,} images of {data.name}:"
        f" loss {scores.loss:.4f}, top-1 {scores.top1:.2%}, top-5 {scores.top5:.2%}",
        highlight=False,
        soft_wrap=True,
    )


def load_test_images(recipe: Recipe, config: TrainConfig) -> ImageData:
    """The images that the flags name, in the size that the checkpoint's network learned.

    Raises:
        InputError: they have other classes or channels.
    """
    _, height, width = recipe.image_shape
    side = height if height == width else None
    data = open_images(config, resize=side, augment=False, device=find_device(config.device))
    if data.classes != recipe.classes or data.image_shape != recipe.image_shape:
        raise InputError(
            f"--dataset={config.dataset} has {data.num_classes} classes of {data.image_shape} images, the checkpoint"
            f" learned {len(recipe.classes)} classes of {recipe.image_shape} images of {recipe.dataset}"
        )
    return data
