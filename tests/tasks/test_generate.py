"""Networks of data without labels, which draw new samples: their pictures, and the commands."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from convnn.cli import main
from convnn.errors import InputError
from convnn.models import OwnLoss, create_model
from convnn.tasks.generate import Generative, draw, sample
from convnn.tasks.generate.draw import grid
from convnn.train import Recipe, load_checkpoint

SMALL = "--dataset digits --levels 2 --num_layers 1 --d_hidden 8 --limit_train 64 --limit_test 20 --num_epochs 1"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flow") / "run"
    assert main(["generate", "train", *SMALL.split(), "--output_dir", str(folder)]) == 0
    return folder


def test_a_grid_has_every_image_in_its_place() -> None:
    images = torch.rand(5, 1, 8, 8)
    found = grid(images)
    assert found.shape == (1, 2 * 64 + 4, 3 * 64 + 2 * 4)
    for number, image in enumerate(images):
        row, column = divmod(number, 3)
        cell = found[0, 68 * row : 68 * row + 64, 68 * column : 68 * column + 64]
        assert torch.equal(cell[4::8, 4::8], image[0])
    assert (found[0, 68:, 136:] == 1).all()  # the place that is left


def test_a_picture_of_samples(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "samples.png"
    words = ["generate", "sample", str(finished), "--count", "4", "--temperature", "0.7", "--seed", "3"]
    assert main([*words, "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: 4 samples of finc_flow, epoch 1\n"
    network, recipe = load_checkpoint(finished)
    torch.manual_seed(3)
    wanted = network.sample(4, recipe.input_shape, 0.7)
    assert set(wanted.unique().tolist()) <= set(range(17))
    pixels = torch.from_numpy(np.array(Image.open(out))).float()[..., 0] / 255
    torch.testing.assert_close(pixels, grid(wanted / 16)[0], atol=1 / 255, rtol=0)
    assert main([*words, "--out", str(out)]) == 2  # which would replace it
    before = out.read_bytes()
    assert main([*words, "--out", str(out), "--overwrite"]) == 0
    assert out.read_bytes() == before
    assert main([*words[:-1], "4", "--out", str(out), "--overwrite"]) == 0
    assert out.read_bytes() != before


def test_a_seed_leaves_the_generators_as_they_are(finished: Path) -> None:
    network, recipe = load_checkpoint(finished)
    state = torch.get_rng_state()
    first, second = (sample(network, 2, recipe.input_shape, seed=1) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(state, torch.get_rng_state())
    sample(network, 2, recipe.input_shape)
    assert not torch.equal(state, torch.get_rng_state())


def test_evaluation_prints_bits(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["generate", "evaluate", str(finished), "--limit_train", "64", "--limit_test", "20"]
    assert main([*words, "--part", "train", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["images"] == 64
    assert main([*words, "--part", "train"]) == 0
    line = capsys.readouterr().out
    assert f"loss {found['loss']:.4f}, bits_per_dim {found['bits_per_dim']:.4f}, latents" in line
    assert "top" not in line
    assert "%" not in line


class Squares(OwnLoss):
    data = "squares"

    def __init__(self) -> None:
        super().__init__(1)
        self.side = torch.nn.Parameter(torch.tensor(2.0))

    def sample(self, count: int, shape: tuple[int, ...], temperature: float = 1.0) -> Tensor:
        return self.side * torch.ones(count) * temperature


def test_another_network_brings_its_own_picture(tmp_path: Path) -> None:
    network, recipe = Squares(), Recipe("squares", "Conv2d", 1.0, {}, "squares", (1, 1, 1), (), (), ())
    assert isinstance(network, Generative)
    found = sample(network, 3, (1, 1, 1), temperature=0.5, seed=0)
    with pytest.raises(InputError, match="network=Squares has samples of squares, of which nothing draws any"):
        draw(network, found, recipe, tmp_path / "x.png")

    @draw.register
    def _(network: Squares, samples: Tensor, recipe: Recipe, path: Path) -> None:
        path.write_text(" ".join(map(str, samples.tolist())))

    draw(network, found, recipe, tmp_path / "x.png")
    assert (tmp_path / "x.png").read_text() == "1.0 1.0 1.0"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sample", "RUN", "--count", "0"], "--count=0 must be an integer of at least 1"),
        (["sample", "RUN", "--temperature", "-1"], "--temperature=-1.0 must be a number of at least 0"),
        (["sample", "RUN", "--temperature", "nan"], "--temperature=nan must be a number of at least 0"),
        (["sample", "RUN", "--out", "x.jpg"], "--out=x.jpg must end in .png"),
        (["sample", "RUN", "--samples", "x.json"], "--samples=x.json: network=PixelFlow has samples of images, which"),
        (["sample", "RUN", "--counts", "2"], "unknown flag --counts; did you mean '--count'"),
        (["train", "--model", "vgg11"], "--model='vgg11' is not one of diffusesg, finc_flow"),
        (["draw", "RUN"], "invalid choice: 'draw'"),
    ],
)
def test_bad_input(words: list[str], message: str, finished: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["generate", *(str(finished) if word == "RUN" else word for word in words)]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("task", ["sample", "evaluate"])
def test_checkpoints_of_other_networks(task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = "--model vgg11 --layer Conv2d --width 0.03125 --dataset digits --resize 32 --limit_train 8 --limit_test 8"
    assert main(["train", *flags.split(), "--num_epochs", "1", "--output_dir", str(tmp_path / "run")]) == 0
    assert main(["generate", task, str(tmp_path / "run")]) == 2
    assert f"checkpoint '{tmp_path / 'run'}' is of vgg11, which draws no samples" in capsys.readouterr().err


def test_what_draws_nothing() -> None:
    with pytest.raises(InputError, match="network=VGG has no method `sample`, so it draws nothing"):
        sample(create_model("vgg11", "Conv2d", width=1 / 32), 1, (3, 32, 32))
