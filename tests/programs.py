"""Programs that tests run in separate processes."""

import os
import runpy
import sys
import time
from pathlib import Path

import torch
from torch import nn

from convnn.data import load_data
from convnn.data.epochs import LoaderSettings
from convnn.data.tensors import TensorLoader
from convnn.models import create_model
from convnn.study.queue import Queue
from convnn.train import Supervised, TrainConfig, Trainer, evaluate, make_accelerator
from convnn.train.state import capture

PLAIN_SGD = {"optimizer": "sgd", "momentum": 0.0, "lr": 1.0, "weight_decay": 0.0, "clip_grad_norm": 0.0}
"""A learning rate by which weights move by their gradient."""


def take_a_step(flags: dict, out: str, double: bool = True) -> int:
    """Train one step on digits with plain SGD; save the gradients and the scores."""
    config = TrainConfig(**PLAIN_SGD | {"scheduler": "none", "num_epochs": 1} | flags)
    accelerator = make_accelerator(torch.device("cpu"))
    data = load_data(
        "digits",
        batch_size=config.batch_size,
        resize=config.resize,
        augment=True,
        noise=0.1,
        limit_train=config.batch_size * config.accumulate,
        process_index=accelerator.process_index,
        num_processes=accelerator.num_processes,
    )
    torch.manual_seed(0)
    network = create_model(config.model, config.layer, in_channels=1, width=config.width, **config.settings)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # every process draws for its own samples only
    if double:
        network.double().register_forward_pre_hook(lambda _, images: images[0].double())
    before = {name: t.double().clone() for name, t in network.state_dict().items()}
    trainer = Trainer(network, data, config, accelerator)
    [result] = trainer.fit()
    after, _ = capture(trainer)
    if accelerator.is_main_process:
        gradients = {name: before[name] - after[name].double() for name in before}
        torch.save({"gradients": gradients, "train": list(result.train), "test": list(result.test)}, out)
    return 0


def evaluate_1001_samples(out: str) -> int:
    """Evaluate a network on 1,001 random images in batches of 64; save the scores and the samples of each process."""
    accelerator = make_accelerator(torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (1001, 1, 8, 8), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 10, (1001,), generator=generator)
    settings = LoaderSettings(
        mean=(0.5,),
        std=(0.5,),
        device=torch.device("cpu"),
        batch_size=64,
        process_index=accelerator.process_index,
        num_processes=accelerator.num_processes,
    )
    loader = TensorLoader(images, labels, settings)
    torch.manual_seed(0)
    network = create_model("resnet18", "ConvNN", in_channels=1, width=1 / 16, K=4).double()
    network.register_forward_pre_hook(lambda _, images: images[0].double())
    scores = evaluate(Supervised(network, "CrossEntropy"), loader, accelerator)
    mine = torch.cat([batch.indices for batch in loader])
    others = accelerator.pad_across_processes(mine, pad_index=-1)
    seen = accelerator.gather(others)
    if accelerator.is_main_process:
        torch.save({"scores": list(scores), "seen": seen[seen >= 0].sort().values}, out)
    return 0


def take_all(folder: Path, names: list[str]) -> int:
    """Claim runs of a study until there are none left, and print those that had to be made."""
    for _ in names:
        claims = Queue(folder / "journal", "study")
        claims.fill([name for name in names if not (folder / name).exists()])
        claim = claims.take(names)
        if claim is not None:
            if not (folder / claim.run).exists():  # it may have been made since it was added; a sweep checks this too
                print(claim.run, flush=True)
            (folder / claim.run).touch()
            claims.finish(claim, 0.5)
    return 0


def run_main_py(folder: str, argv: list[str]) -> None:
    """Run `python main.py` in a folder; the script ends its process."""
    os.chdir(folder)
    sys.argv[1:] = argv
    runpy.run_path(str(Path(__file__).parents[1] / "main.py"), run_name="__main__")


def embed_slowly(argv: list[str]) -> int:
    """Run `convnn graph embed`, slowly and keeping every step."""
    from convnn.cli import _unfinished, main
    from convnn.graphs.embed import Training

    advance = Training.advance

    def slowly(run: Training) -> None:
        advance(run)
        time.sleep(0.05)

    Training.advance = slowly
    _unfinished.parse_interval = lambda _: (None, 0)
    _unfinished._LEAST_WORK = 0
    return main(argv)
