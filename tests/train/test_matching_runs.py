"""Runs of COMMON: tables, resuming to the bit with the teacher, what it learns, and what does not fit."""

import json
import shlex
from pathlib import Path

import pytest
import torch
from torch import Tensor

from convnn.cli import main, main_train
from convnn.data import load_data
from convnn.data.keypoints import make_keypoints, mislabelled
from convnn.errors import InputError
from convnn.models import NodeMatcher, create_model
from convnn.objectives.contrastive import common_nce_loss, quadratic_contrast_loss
from convnn.train import TrainConfig, Trainer, load_checkpoint, make_accelerator
from same_runs import assert_same, killed_after, rows_of

FLAGS = shlex.split("--model common --mislabelled 0.5 --limit_train 12 --limit_test 6 --num_epochs 2 --device cpu")
FLAGS += ["--teacher_warmup", "3"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("common") / "run"
    assert main(["match", "train", *FLAGS, "--output_dir", str(run)]) == 0
    return run


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_run_killed_after_any_step_resumes_to_the_bit(steps: int, finished: Path, tmp_path: Path) -> None:
    with killed_after(steps):
        assert main_train([*FLAGS, "--checkpoint_every", "1", "--output_dir", str(tmp_path)]) == 2
    assert main_train(["--resume", str(tmp_path)]) == 0
    assert_same(tmp_path, finished)


def test_the_teacher_is_in_the_checkpoint_and_follows(finished: Path) -> None:
    network, recipe = load_checkpoint(finished / "last.safetensors")
    assert (recipe.kind, recipe.input_shape, recipe.data_settings["mislabelled"]) == ("matching", (16, 2, 10), 0.5)
    assert network.steps == 4
    pairs = list(zip(network.teacher.module.parameters(), network.embedding.parameters(), strict=True))
    assert not any(torch.equal(own, students) for own, students in pairs)
    assert not any(own.requires_grad for own, _ in pairs)


def test_it_is_measured_and_the_table_has_the_figure(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = "epoch train_loss test_loss lr term_contrast term_edges test_matched"
    assert " ".join(rows_of(finished)[0]) == names
    assert main(["match", "evaluate", str(finished), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["matchings"] == 60
    network, _ = load_checkpoint(finished)
    [batch] = load_data("keypoints", batch_size=60).test
    right = network.match(batch.inputs) == torch.arange(10)
    assert found["matched"] == pytest.approx(right.double().mean().item())
    assert found["contrast"] + found["edges"] == pytest.approx(found["loss"], rel=1e-5)


def test_it_learns(tmp_path: Path) -> None:
    config = TrainConfig(model="common", num_epochs=6, lr=0.01, output_dir=str(tmp_path))
    data = load_data("keypoints", batch_size=config.batch_size)
    torch.manual_seed(0)
    results = Trainer(create_model("common", in_channels=16), data, config, make_accelerator(torch.device("cpu"))).fit()
    assert results[-1].test.measures["matched"] > results[0].test.measures["matched"] + 0.05


def test_the_loss_is_that_of_the_functions_by_hand() -> None:
    """Three batches, the third of which believes the teacher by two thirds of its share."""
    torch.manual_seed(0)
    network = NodeMatcher(None, in_channels=4, teacher_momentum=0.5, teacher_warmup=3, edge_weight=0.7).double()
    before = [one.detach().clone() for one in network.embedding.parameters()]
    x = torch.randn(3, 4, 2, 5, dtype=torch.double)
    for _ in range(2):
        network(x)
    with torch.no_grad():
        for one in network.embedding.parameters():
            one.add_(1)
    answer = network(x)
    for one, old in zip(network.teacher.module.parameters(), before, strict=True):
        torch.testing.assert_close(one, old + 0.5)
    first, second = ([sample[:, place].T for sample in x] for place in (0, 1))
    embeddings = network.embedding, network.teacher.module
    rows = [part.rows(torch.cat(of)) for part in embeddings for of in (first, second)]
    scales = [part.logit_scale.detach().clamp(0, 4.6052) for part in embeddings]
    wanted = common_nce_loss(*rows, *scales, 0.4 * 2 / 3)
    torch.testing.assert_close(answer.terms["contrast"], 3 * wanted)
    torch.testing.assert_close(answer.terms["edges"], 3 * 0.7 * quadratic_contrast_loss(*rows))
    network.eval()
    network(x)
    assert network.steps == 3  # judging moves nothing


def test_gradients_are_those_of_finite_differences() -> None:
    torch.manual_seed(0)
    network = NodeMatcher(None, in_channels=3, d_hidden=4).double().eval()
    x = torch.randn(2, 3, 2, 4, dtype=torch.double)

    def loss(weight: Tensor, scale: Tensor) -> Tensor:
        weights = {"embedding.rows.0.weight": weight, "embedding.logit_scale": scale}
        return torch.stack(list(torch.func.functional_call(network, weights, (x,)).terms.values())).sum()

    weight = torch.randn(4, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(loss, (weight, torch.tensor(1.5).double().requires_grad_()), fast_mode=True)


def test_no_pair_has_gradients_of_nothing() -> None:
    network = NodeMatcher(None)
    answer = network(torch.zeros(0, 16, 2, 7))
    torch.stack(list(answer.terms.values())).sum().backward()
    assert all(one.grad.abs().sum() == 0 for one in network.embedding.parameters())
    assert (network.steps, answer.figures["matched"].shape) == (1, (0,))
    assert network.match(torch.zeros(0, 16, 2, 7)).shape == (0, 7)


def test_a_share_of_the_keypoints_is_annotated_wrong() -> None:
    pair = make_keypoints(torch.Generator().manual_seed(0))
    changed = mislabelled(pair, 0.5, torch.Generator().manual_seed(1))
    assert pair.shape == (16, 2, 10)
    assert torch.equal(changed[:, 0], pair[:, 0])
    moved = (changed[:, 1] != pair[:, 1]).any(0)
    assert moved.sum() == 5
    assert sorted(changed[0, 1].tolist()) == sorted(pair[0, 1].tolist())
    assert torch.equal(mislabelled(pair, 0.0, torch.Generator()), pair)
    clean, wrong = (load_data("keypoints", batch_size=60, mislabelled=share) for share in (0.0, 1.0))
    assert torch.equal(next(iter(clean.test)).inputs, next(iter(wrong.test)).inputs)
    assert not torch.equal(next(iter(clean.train)).inputs, next(iter(wrong.train)).inputs)
    others = load_data("keypoints", batch_size=60, split=1)
    assert not torch.equal(next(iter(clean.test)).inputs, next(iter(others.test)).inputs)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--dataset motions", "--model=common reads matchings, but --dataset=motions has image pairs"),
        ("--mislabelled 1.5", "--mislabelled=1.5 must lie"),
        ("--model dkm --dataset motions --mislabelled 0.5", "--mislabelled=0.5 is for keypoints"),
        ("--layer ConvNN", "--layer='ConvNN' has no place in --model='common'; leave it out"),
        ("--teacher_momentum 1", "--teacher_momentum=1.0 must be at least 0 and less than 1"),
        ("--teacher_share 2", "--teacher_share=2.0 must lie"),
        ("--teacher_warmup 0", "--teacher_warmup=0 must be"),
        ("--edge_weight -1", "--edge_weight=-1.0 must not be negative"),
        ("--augment", "changes images; --dataset='keypoints' has matchings"),
    ],
)
def test_what_does_not_fit(flags: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["match", "train", *FLAGS, *flags.split(), "--output_dir", str(tmp_path / "new")]
    assert main(given) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_it_draws_no_images(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["match", "draw", str(finished)]) == 2
    assert "is of common, which matches graphs, and convnn match draw is for images" in capsys.readouterr().err


@pytest.mark.parametrize("x", [torch.zeros(1, 16, 2, 1), torch.zeros(1, 8, 2, 4), torch.zeros(16, 2, 4)], ids=range(3))
def test_pairs_of_another_shape_are_refused(x: Tensor) -> None:
    with pytest.raises(InputError, match=r"must be \(B, 16, 2, N\), floating, with N at least 2"):
        NodeMatcher(None).match(x)
