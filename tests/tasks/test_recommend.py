"""Suggestions and their figures against sorted lists, and the command."""

import json
import math
from pathlib import Path

import pytest
import torch

from convnn.cli import main
from convnn.errors import InputError
from convnn.tasks.recommend import Ranker, ranker

USERS, ITEMS = 12, 15


def make(seed: int = 0) -> tuple[Ranker, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    vectors = [torch.randint(-2, 3, (n, 3), generator=generator).float() for n in (USERS, ITEMS)]  # many equal scores
    known = (torch.rand(USERS, ITEMS, generator=generator) < 0.3).nonzero().T
    return Ranker(*vectors, known), vectors[0] @ vectors[1].T, known


def sorted_list(scores: torch.Tensor, known: torch.Tensor, user: int, k: int) -> list[int]:
    has = {i for u, i in known.T.tolist() if u == user}
    left = sorted((i for i in range(ITEMS) if i not in has), key=lambda i: (-scores[user, i].item(), i))
    return (left + [-1] * k)[:k]


@pytest.mark.parametrize("chunk", [1 << 24, 2 * ITEMS])
@pytest.mark.parametrize("recall", [None, 0.9])
def test_suggestions_are_the_sorted_items_that_a_user_lacks(chunk: int, recall: float | None, monkeypatch) -> None:
    monkeypatch.setattr(ranker, "CHUNK", chunk)
    ours, scores, known = make()
    users = torch.tensor([4, 0, 4, 11, 7])
    for k in (1, 5, ITEMS):
        found = ours.suggest(users, k, recall=recall)
        assert found.tolist() == [sorted_list(scores, known, user, k) for user in users.tolist()]


def test_a_clustered_search_finds_most_of_many() -> None:
    torch.manual_seed(0)
    users, items = torch.randn(2100, 4), torch.randn(3000, 4)
    ours = Ranker(users, items, torch.tensor([[0], [0]]))
    exact, found = (ours.suggest(torch.arange(2100), 10, recall=recall) for recall in (None, 0.9))
    share = (exact[:, :, None] == found[:, None]).any(2).double().mean().item()
    assert 0.85 < share < 1


@pytest.mark.parametrize("chunk", [1 << 24, ITEMS])
def test_figures_are_those_of_lists(chunk: int, monkeypatch) -> None:
    monkeypatch.setattr(ranker, "CHUNK", chunk)
    ours, scores, known = make(1)
    torch.manual_seed(2)
    held_out = (torch.rand(USERS, ITEMS) < 0.2).nonzero().T
    held_out = held_out[:, [pair not in known.T.tolist() for pair in held_out.T.tolist()]]
    found = ours.evaluate(held_out, [1, 4])
    for k in (1, 4):
        rows = []
        for user in held_out[0].unique().tolist():
            wanted = {i for u, i in held_out.T.tolist() if u == user}
            best = sorted_list(scores, known, user, k)
            hits = [item in wanted for item in best]
            gain = sum(hit / math.log2(rank + 2) for rank, hit in enumerate(hits))
            ideal = sum(1 / math.log2(rank + 2) for rank in range(min(k, len(wanted))))
            rows.append([sum(hits) / len(wanted), sum(hits) / k, gain / ideal, any(hits)])
        means = torch.tensor(rows, dtype=torch.double).mean(0).tolist()
        names = [f"{name}@{k}" for name in ("recall", "precision", "ndcg", "hits")]
        assert [found[name] for name in names] == pytest.approx(means)


WRONG = {
    "widths": (
        lambda: Ranker(torch.ones(2, 3), torch.ones(2, 4), torch.zeros(2, 0, dtype=torch.long)),
        "^users of shape",
    ),
    "known": (
        lambda: Ranker(torch.ones(2, 3), torch.ones(2, 3), torch.full((2, 1), 2)),
        "^known has users from 2 to 2",
    ),
    "user": (lambda: make()[0].suggest(torch.tensor([12]), 1), "^users from 12 to 12 must lie between 0 and 11$"),
    "type": (
        lambda: make()[0].suggest(torch.tensor([1.0]), 1),
        "^users of shape .1,. and torch.float32 must be one li",
    ),
    "k": (lambda: make()[0].suggest(torch.tensor([1]), 16), "^k=16 must be at most 15, the number of items$"),
    "no k": (lambda: make()[0].suggest(torch.tensor([1]), 0), "^k=0 must be an integer of at least 1$"),
    "recall": (lambda: make()[0].suggest(torch.tensor([1]), 1, recall=1.5), "^recall=1.5 must"),
    "nothing": (
        lambda: make()[0].evaluate(torch.zeros(2, 0, dtype=torch.long)),
        "^held_out of shape .2, 0. must have a",
    ),
    "at": (lambda: make()[0].evaluate(torch.zeros(2, 1, dtype=torch.long), ()), "^at=.. must have a number of items$"),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_bad_input(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a run and the folder of its data: two groups of friends who chose among two kinds of things."""
    folder = tmp_path_factory.mktemp("choices")
    pairs = [(f"{kind}{user}", f"{kind.upper()} {item}") for kind in "ab" for user in range(6) for item in range(6)]
    held = [pair for number, pair in enumerate(pairs) if number % 6 == number // 6 % 6]
    (folder / "train.csv").write_text("".join(f"{u},{i}\n" for u, i in pairs if (u, i) not in held))
    (folder / "test.csv").write_text("".join(f"{u},{i}\n" for u, i in held))
    words = "recommend train --layer LightGCN --d_hidden 8 --num_epochs 30 --lr 0.05"  # --data_path says which data
    assert main([*words.split(), "--data_path", str(folder), "--output_dir", str(folder / "run")]) == 0
    return folder / "run", folder


def test_the_command_suggests_what_the_group_chose(trained, capsys: pytest.CaptureFixture[str]) -> None:
    run, _ = trained
    capsys.readouterr()
    assert main(["recommend", "suggest", str(run), "--users", "a0", "b3", "--top", "1"]) == 0
    assert capsys.readouterr().out == "a0: A 0\nb3: B 3\n"
    assert main(["recommend", "suggest", str(run), "--users", "b3", "--top", "12", "--recall", "0.9", "--json"]) == 0
    names = json.loads(capsys.readouterr().out)["b3"]
    assert names[0] == "B 3"
    assert len(names) == 7


def test_the_command_measures(trained, capsys: pytest.CaptureFixture[str]) -> None:
    run, _ = trained
    capsys.readouterr()
    assert main(["recommend", "evaluate", str(run), "--top", "1", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["users"], found["recall@1"], found["ndcg@3"], found["precision@1"]) == (12, 1, 1, 1)
    assert found["precision@3"] == pytest.approx(1 / 3)
    assert main(["recommend", "evaluate", str(run), "--top", "1"]) == 0
    assert "recall@1 100.00%, precision@1 100.00%, ndcg@1 100.00%, hits@1 100.00%" in capsys.readouterr().out


SENTENCES = {
    "user": ("suggest {run} --users a0 who", "user 'who' is not one of the 12 of the data, such as 'a0'"),
    "top": ("suggest {run} --users a0 --top 13", "--top=13 must be at most 12, the number of items"),
    "recall": ("suggest {run} --users a0 --recall 1.5", "--recall=1.5 must"),
    "part": ("evaluate {run} --part val", "--part='val' is not one of test"),
    "model": ("train --model vgg11", "--model=vgg11 recommends nothing; leave it out, which is --model=recommender"),
    "data": ("evaluate {run} --dataset hidden_groups", "--dataset=hidden_groups in --data_path="),
    "flag": ("train --lrr 3", "unknown flag --lrr; did you mean '--lr'?"),
    "task": ("learn", "TASK: invalid choice: 'learn'"),
}


@pytest.mark.parametrize("case", SENTENCES)
def test_mistakes_are_one_sentence(case: str, trained, capsys: pytest.CaptureFixture[str]) -> None:
    words, sentence = SENTENCES[case]
    capsys.readouterr()
    assert main(["recommend", *words.format(run=trained[0]).split()]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
