import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from convnn.errors import InputError
from convnn.models import create_model
from convnn.nn import Branching2d, ConvNN2d, ConvNNAttn2d
from convnn.train import EpochResult, Meter, Scores, parameter_table, summarize
from convnn.train.folder import metrics_text, results_text
from convnn.train.summary import NetworkSummary
from convnn.train.validate import _check_result


@pytest.mark.parametrize("batch_size", [1, 7, 100, 256])
def test_scores_count_every_sample_once_whatever_the_batches(batch_size: int) -> None:
    logits, labels = torch.randn(256 + 16, 10), torch.randint(0, 10, (256 + 16,))
    losses = nn.functional.cross_entropy(logits, labels, reduction="none")
    meter = Meter(torch.device("cpu"))
    for i in range(0, len(labels), batch_size):
        part = slice(i, i + batch_size)
        meter.update(losses[part].sum(), logits[part], labels[part])
    ranks = (logits > logits.gather(1, labels[:, None])).sum(1)
    scores = Scores.from_sums(meter.sums, meter.num_classes)
    assert scores.loss == pytest.approx(losses.mean().item(), rel=1e-5)
    assert scores.top1 == pytest.approx((ranks < 1).float().mean().item(), abs=1e-7)
    assert scores.top5 == pytest.approx((ranks < 5).float().mean().item(), abs=1e-7)


def test_fewer_than_five_classes_have_no_top_five() -> None:
    meter = Meter(torch.device("cpu"))
    meter.update(torch.tensor(1.0), torch.randn(8, 3), torch.randint(0, 3, (8,)))
    scores = Scores.from_sums(meter.sums, meter.num_classes)
    assert scores.top5 is None
    result = EpochResult(1, 2.0, 4.0, 0.1, scores, scores, is_best=True)
    for one, columns in ((result, ["", ""]), (replace(result, val=scores), ["", "", ""])):
        written = results_text([one], NetworkSummary(1, 1, 1), is_over=True) + metrics_text([one], is_over=True)
        assert "Top5" not in written
        assert written.splitlines()[-1].split(",")[3::3] == columns
        row = json.loads(json.dumps(asdict(one)))
        _check_result(
            row, 1, SimpleNamespace(num_classes=3, task="classification", val=one.val), ()
        )  # a checkpoint says so too
        with pytest.raises(InputError, match="result 1"):
            _check_result(row, 1, SimpleNamespace(num_classes=5, task="classification", val=one.val), ())


def test_flops_of_a_convolution_are_two_a_multiply_add() -> None:
    assert summarize(nn.Conv2d(3, 8, 3, padding=1), (3, 16, 16)).flops == 2 * 16 * 16 * 8 * 3 * 9


def test_flops_of_convnn_are_scores_and_kernel() -> None:
    scores = 2 * (16 * 16) * (18 * 18) * 3
    kernel = 2 * (16 * 16) * 8 * 3 * 9
    assert summarize(ConvNN2d(3, 8, K=9, padding=1), (3, 16, 16)).flops == scores + kernel


@pytest.mark.parametrize("layer", [ConvNNAttn2d(4, 8, K=5), Branching2d(4, 8)], ids=lambda layer: type(layer).__name__)
def test_flops_grow_with_the_square_of_the_positions(layer: nn.Module) -> None:
    small, large = (summarize(layer, (4, side, side)).flops for side in (8, 16))
    assert 4 * small < large < 16 * small


def test_counting_touches_neither_statistics_nor_random_numbers() -> None:
    network = create_model("resnet18", "ConvNN", width=1 / 16, sampling_type="random", num_samples=12)
    state = {name: t.clone() for name, t in network.state_dict().items()}
    generator = torch.get_rng_state()
    summary = summarize(network, (3, 8, 8))
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(state[name], t) for name, t in network.state_dict().items())
    assert network.training
    assert summary.parameters == summary.trainable == sum(p.numel() for p in network.parameters())


def test_parameter_table_adds_up() -> None:
    network = create_model("resnet18", "Branching", width=1 / 16)
    counts = [int(line.split()[1].replace(",", "")) for line in parameter_table(network).splitlines()]
    assert sum(counts) == sum(p.numel() for p in network.parameters())
