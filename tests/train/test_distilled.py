"""Training under a teacher: terms, resuming to the bit, other teachers, and what cannot be taught."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from accelerate.utils import set_seed
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.data import LabelledData, load_data
from convnn.errors import InputError, UnsupportedError
from convnn.interruption import Interrupted, Interruption
from convnn.models import create_model
from convnn.objectives import cskd_loss, deit_distillation, logit_distillation, ofa_loss
from convnn.runs.curves import read_curves
from convnn.train import (
    Callback,
    Checkpoint,
    Objective,
    Recipe,
    RunFolder,
    TrainConfig,
    Trainer,
    load_checkpoint,
    make_accelerator,
    read_checkpoint,
    save_checkpoint,
    summarize,
)
from convnn.train.schemes import make_objective
from convnn.train.schemes.stages import layers_of_stages
from convnn.train.schemes.teacher import load_teacher
from pairwise import one_in

FLAGS = {"dataset": "digits", "num_epochs": 2, "lr": 0.01, "batch_size": 16, "limit_train": 48, "limit_test": 32}
FLAGS |= {"device": "cpu", "checkpoint_every": "1", "scheduler": "none"}
VIT = {"model": "vit", "resize": 8, "patch_size": 2, "num_layers": 2, "num_heads": 2, "d_hidden": 16, "d_mlp": 32}
CNN = {"model": "resnet18", "layer": "Conv2d", "width": 1 / 16, "resize": None}
CSKD = {"distill_loss": "cskd", "distillation_token": True}


def digits() -> LabelledData:
    return load_data("digits", batch_size=16, limit_train=48, limit_test=32, seed=0)


def make_teacher(path: Path, seed: int = 0, classes: tuple[str, ...] | None = None, **changes: object) -> Path:
    """Save an untrained CNN as a teacher."""
    data = digits()
    classes = data.classes if classes is None else classes
    settings = TrainConfig(**CNN).settings
    recipe = {"input_shape": data.input_shape, "mean": data.mean, "std": data.std, "classes": classes} | changes
    recipe = Recipe("resnet18", "Conv2d", 1 / 16, settings, "digits", **recipe)
    torch.manual_seed(seed)
    network = recipe.build()
    with torch.no_grad():
        network.head[-1].weight *= 5  # opinions that differ
    save_checkpoint(path, Checkpoint(dict(network.state_dict()), recipe))
    return path


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_teacher(tmp_path_factory.mktemp("teacher") / "cnn.safetensors")


class StopAfter(Callback):
    def __init__(self, step: int, interruption: Interruption) -> None:
        self.left, self.interruption = step, interruption

    def on_step(self, step: int) -> None:
        self.left -= 1
        if self.left == 0:
            self.interruption.number = 15


def make(folder: Path, teacher: Path | str, stop: int = 0, **flags: object) -> Trainer:
    config = TrainConfig(**(FLAGS | VIT | flags), distill=str(teacher), output_dir=str(folder))
    set_seed(config.seed)
    data = digits()
    network = create_model(
        config.model, config.layer, in_channels=1, num_classes=10, width=config.width, **config.settings
    )
    interruption = Interruption()
    callbacks = [RunFolder(config, network, data, summarize(network, data.input_shape))]
    callbacks += [StopAfter(stop, interruption)] if stop else []
    objective = make_objective(network, config, data)
    return Trainer(network, data, config, make_accelerator(torch.device("cpu")), callbacks, interruption, objective)


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


LOSSES = {
    "ofa": {"distill_loss": "ofa", "distill_exponents": "1.2,0.8,1.5", "distill_weights": "1,0.5,2"},
    "of a CNN": CNN | {"distill_loss": "ofa"},
    "cskd": CSKD,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", one_in(3, LOSSES))
def test_a_run_resumes_to_the_bit_and_its_best_network_is_alone(name: str, teacher: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    make(whole, teacher, **LOSSES[name]).fit()
    with pytest.raises(Interrupted):
        make(parts, teacher, 4, **LOSSES[name]).fit()
    trainer = make(parts, teacher, **LOSSES[name], resume=str(parts))
    trainer.resume(read_checkpoint(parts / "last.safetensors"), parts)
    trainer.fit()
    states = [read_checkpoint(folder / "last.safetensors") for folder in (whole, parts)]
    assert same(*(state.run.tensors for state in states))
    assert same(*(state.weights for state in states))
    assert (whole / "metrics.csv").read_text() == (parts / "metrics.csv").read_text()
    kept = states[0].run.group("objective")
    assert any(part.startswith("scheme.projectors.4") for part in kept) == (name != "cskd")
    assert not any(part.startswith(("teacher.", "network")) for part in kept)
    network, _ = load_checkpoint(whole / "best.safetensors")
    assert network(torch.zeros(1, 1, 8, 8)).shape == (1, 10)
    curves = read_curves(whole / "metrics.csv")
    terms = [values for column, values in curves.items() if column.startswith("term_")]
    assert len(terms) == 3
    assert [sum(parts) for parts in zip(*terms, strict=True)] == pytest.approx(curves["train_loss"], rel=1e-5)


def losses(folder: Path, teacher: Path, **flags: object) -> tuple[Trainer, dict[str, float], Tensor, Tensor, Tensor]:
    """Return a trainer, the terms of its first batch per sample, its images and labels, and the teacher's logits."""
    trainer = make(folder, teacher, dropout=0.0, attention_dropout=0.0, **flags)
    trainer.objective.begin_epoch(2)
    batch = next(iter(trainer.data.train))
    terms = trainer.objective.train()(batch).terms
    by_name = {name: term.item() / len(batch.labels) for name, term in terms.items()}
    with torch.no_grad():
        wanted = load_checkpoint(teacher)[0](batch.inputs)
    return trainer, by_name, batch.inputs, batch.labels, wanted


def test_the_terms_are_the_losses_of_the_definition(teacher: Path, tmp_path: Path) -> None:
    trainer, terms, images, labels, wanted = losses(tmp_path, teacher, distill_temperature=2.0, distill_weights="1,3")
    logits = trainer.network(images)
    expected = {
        "labels": F.cross_entropy(logits, labels),
        "logits": 3 * logit_distillation(logits, wanted, temperature=2),
    }
    assert terms == pytest.approx({name: loss.item() for name, loss in expected.items()}, rel=1e-5)


def test_the_terms_of_ofa(teacher: Path, tmp_path: Path) -> None:
    trainer, terms, images, labels, wanted = losses(tmp_path, teacher, **LOSSES["ofa"])
    network, scheme = trainer.network, trainer.objective.scheme
    features = network.blocks[0](_tokens(network, images))
    of_first = ofa_loss(scheme.projectors["3"](features), wanted, labels, exponent=1.2)
    of_last = ofa_loss(scheme.projectors["4"](network.blocks[1](features)), wanted, labels, exponent=0.8)
    logits = network(images)
    expected = {
        "labels": F.cross_entropy(logits, labels),
        "logits": 0.5 * ofa_loss(logits, wanted, labels, exponent=1.5),
        "features": 2 * (of_first + of_last),
    }
    assert terms == pytest.approx({name: loss.item() for name, loss in expected.items()}, rel=1e-5)


def _tokens(network: nn.Module, images: Tensor) -> Tensor:
    seen: list[Tensor] = []
    hook = network.blocks.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(images)
    hook.remove()
    return seen[0]


def test_the_terms_of_cskd(teacher: Path, tmp_path: Path) -> None:
    flags = {"distill_token": "soft", "distill_decay": "x2", "distill_temperature": 3.0}
    trainer, terms, images, labels, wanted = losses(tmp_path, teacher, **CSKD, **flags)
    image, token, patches = trainer.network.responses(trainer.network.forward_features(images))
    cnn = load_checkpoint(teacher)[0]
    with torch.no_grad():
        features = cnn.forward_features(images)
        places = [cnn.forward_head(features[:, :, i : i + 1, j : j + 1]) for i in range(8) for j in range(8)]
    of_places = torch.stack(places, -1).unflatten(2, (8, 8))
    expected = {
        "labels": 0.5 * F.cross_entropy(image, labels),
        "token": 0.5 * deit_distillation(token, wanted, kind="soft", temperature=3.0),
        "patches": cskd_loss(patches, of_places, 0.25),  # the second of two epochs: (1 - 1/2)^2
    }
    assert terms == pytest.approx({name: loss.item() for name, loss in expected.items()}, rel=1e-4)


def test_a_teacher_sees_images_as_it_learned_them(tmp_path: Path) -> None:
    path = make_teacher(tmp_path / "one.safetensors", mean=(0.1,), std=(0.5,))
    data = digits()
    images = next(iter(data.test)).inputs
    raw = images * data.std[0] + data.mean[0]
    found = load_teacher(TrainConfig(distill=str(path)), data, torch.device("cpu")).logits(images)
    torch.testing.assert_close(found, load_checkpoint(path)[0]((raw - 0.1) / 0.5), rtol=1e-4, atol=1e-5)


def test_a_run_does_not_go_on_under_another_teacher(teacher: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        make(tmp_path / "run", teacher, 1).fit()
    other = make_teacher(tmp_path / "other.safetensors", seed=1)
    trainer = make(tmp_path / "run", other, resume=str(tmp_path / "run"))
    trainer.resume(read_checkpoint(tmp_path / "run" / "last.safetensors"), tmp_path)
    with pytest.raises(InputError, match=r"^--distill has other weights than the teacher with which the run began"):
        trainer.fit()


def test_a_teacher_of_timm_comes_from_a_file(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    network = timm.create_model("resnet10t", num_classes=10, in_chans=1).eval()
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    flags = {"distill_checkpoint": str(tmp_path / "weights.safetensors")}
    trainer = make(tmp_path / "run", "timm:resnet10t", **flags, **CSKD)
    images = next(iter(trainer.data.test)).inputs
    with torch.no_grad():
        torch.testing.assert_close(trainer.objective.teacher.logits(images), network(images))
    responses = trainer.objective.teacher.responses(images)
    torch.testing.assert_close(responses.mean((2, 3)), network(images).detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"model": "vit", "num_layers": 12}, {"blocks.2": 1, "blocks.5": 2, "blocks.8": 3, "blocks.11": 4}),
        ({"model": "vit", "num_layers": 5}, {"blocks.0": 1, "blocks.1": 2, "blocks.2": 3, "blocks.4": 4}),
        ({"model": "vit", "num_layers": 2}, {"blocks.0": 3, "blocks.1": 4}),
        (CNN, {f"stages.{k}": k + 1 for k in range(4)}),
        ({"model": "torchvision:resnet18", "layer": "Conv2d"}, {f"network.layer{k}": k for k in range(1, 5)}),
    ],
)
def test_the_ends_of_stages_are_known(flags: dict, expected: dict[str, int]) -> None:
    flags = flags | {"resize": None}
    config = TrainConfig(**flags)
    with torch.device("meta"):
        network = create_model(config.model, config.layer, width=config.width, **config.settings)
    assert layers_of_stages(network) == expected
    assert layers_of_stages(network, "a=2,b") == {"a": 2, "b": 4}
    assert layers_of_stages(network, "a, b,c") == {"a": 2, "b": 3, "c": 4}


NO_LAYER = r"^--distill_layers=blocks.7: layer 'blocks.7' is not in ViT; did you mean 'blocks.\d'.; it has embed, "
WRONG = {
    "missing": ({"distill": "nowhere"}, r"^checkpoint 'nowhere' .*"),
    "no network": ({"distill": "timm:resnet"}, "^--distill='timm:resnet' is not a network of timm; did you mean "),
    "no file": (
        {"distill": "timm:resnet10t"},
        "^--distill=timm:resnet10t needs --distill_checkpoint=FILE, its weights for the 10 classes of --dataset=digits",
    ),
    "own weights": ({"distill_checkpoint": "x.pth"}, "^--distill_checkpoint=x.pth is for teachers timm:NAME and torch"),
    "layer": ({"distill_loss": "ofa", "distill_layers": "blocks.7"}, NO_LAYER),
    "tuple": (
        {"distill_loss": "ofa", "distill_layers": "head"},
        r"^--distill_layers=head: shape=\(10,\) must be that of a map, \(C, H, W\), or of tokens, \(T, C\)$",
    ),
    "many": (
        {"distill_loss": "ofa", "distill_layers": "a,b,c,d,e"},
        "^--distill_layers=a,b,c,d,e must be at most four",
    ),
    "stage": ({"distill_loss": "ofa", "distill_layers": "a=5"}, "^--distill_layers=a=5 must be at most four layers, "),
    "no grid": (
        {"distill_loss": "ofa", "distill_layers": "blocks.1.mlp.0", "d_mlp": 30},
        r"^--distill_layers=blocks.1.mlp.0: tokens of 30 channels must have a multiple of 4, the number of heads$",
    ),
    "exponents": (
        {"distill_loss": "ofa", "distill_exponents": "1,2"},
        r"^exponents=\(1.0, 2.0\) must be one number, or 3: one for each of 2 projectors",
    ),
    "weights": ({"distill_weights": "1"}, "^--distill_weights=1.0 must be 2 numbers, for labels, logits$"),
    "words": ({"distill_weights": "a,b"}, "^--distill_weights=a,b must be numbers of at least 0, separated by commas$"),
    "token": ({"distill_loss": "cskd"}, "^--distill_loss=cskd teaches a ViT with a second token, such as --model vit "),
    "cnn": (CNN | {"distill_loss": "cskd"}, "^--distill_loss=cskd teaches a ViT with a second token, such as --model "),
    "objective": (
        {"objective": "infonce"},
        "^--objective=infonce learns without labels or a teacher; leave it out, or",
    ),
    "fsdp": ({"fsdp": True}, "^--fsdp divides the student among the processes, but --distill="),
}


def teach(**flags: object) -> Objective:
    config = TrainConfig(**flags)
    network = create_model(config.model, config.layer, in_channels=1, width=config.width, **config.settings)
    return make_objective(network, config, digits())


@pytest.mark.parametrize(("flags", "message"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_taught(flags: dict, message: str, teacher: Path) -> None:
    if "timm:" in flags.get("distill", ""):
        pytest.importorskip("timm")
    with pytest.raises(InputError, match=message):
        teach(**(FLAGS | VIT | {"distill": str(teacher)} | flags))


def test_teachers_of_other_classes_or_sizes_are_refused(tmp_path: Path) -> None:
    names = tuple(f"class {number}" for number in range(10))
    other, small = make_teacher(tmp_path / "a.safetensors", classes=names), tmp_path / "b.safetensors"
    make_teacher(small, input_shape=(1, 16, 16))
    with pytest.raises(
        InputError, match=r"^--dataset=digits cannot be taught by --distill=.*: it lacks class 0, .*, which"
    ):
        load_teacher(TrainConfig(dataset="digits", distill=str(other)), digits(), torch.device("cpu"))
    with pytest.raises(
        InputError, match=r"^--distill=.* learned images of shape \(1, 16, 16\), but --dataset=digits has"
    ):
        load_teacher(TrainConfig(dataset="digits", distill=str(small)), digits(), torch.device("cpu"))


def test_a_teacher_of_tokens_has_no_places(tmp_path: Path) -> None:
    data = digits()
    settings = TrainConfig(**VIT).settings
    recipe = Recipe("vit", "Attention", 1.0, settings, "digits", (1, 8, 8), data.mean, data.std, data.classes)
    save_checkpoint(tmp_path / "vit.safetensors", Checkpoint(dict(recipe.build().state_dict()), recipe))
    with pytest.raises(
        UnsupportedError, match=r"^ViT has no map of features before a classifier that reads one; a CNN"
    ):
        make(tmp_path / "run", tmp_path / "vit.safetensors", **CSKD)
    make(tmp_path / "other", tmp_path / "vit.safetensors", distill_loss="ofa")
