"""Interactions from files and drawings, and their loaders."""

from collections import Counter
from pathlib import Path

import pytest
import torch

from convnn.data import load_data, load_part, read_interactions
from convnn.data.interaction_files import number_names, read_pairs
from convnn.errors import InputError

FORMS = {
    "csv": "user,item,count\nAnn,The Wall,3\nBob,Help!,1\nAnn,Help!,2\n",
    "tab": "userID\titemID\nAnn\tThe Wall\nBob\tHelp!\nAnn\tHelp!\n",
    "plain": "\ufeffAnn, The Wall\n\n  Bob,Help!  \r\nAnn,Help!\nAnn,Help!\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_pairs_in_several_forms(form: str, tmp_path: Path) -> None:
    path = tmp_path / "choices.csv"
    path.write_text(FORMS[form], encoding="utf-8")
    assert read_pairs(path) == [("Ann", "The Wall"), ("Bob", "Help!"), ("Ann", "Help!")]


def test_published_lists(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_text("0 4 2 9 11\n1 3\n2\n3 4 2\n")
    assert read_pairs(path) == [*[("0", i) for i in ("4", "2", "9", "11")], ("1", "3"), ("3", "4"), ("3", "2")]


BAD = {
    "fields": (
        "1,2\n3\n4,5,6,7\n8,9\n",
        "has 2 bad lines: line 2: it has 1 field; it must have user, item and perhaps ",
    ),
    "count": (
        "1 2 3\n1 3 many\n1 4 -1\n",
        "has 2 bad lines: line 2: 'many' is no count; it must be a positive number; li",
    ),
    "empty": ("1,2\n,3\n4,\n", "has 2 bad lines: line 2: its user is empty; line 3: its item is empty$"),
    "twice": ("a b c d\nb c\na d\n", "has 1 bad line: line 3: user 'a' has a list in line 1 already$"),
    "nothing": ("user,item\n", "holds no choice; each line must be user,item or user,item,count$"),
    "many": ("a,b\n" + "c\n" * 5, "has 5 bad lines: line 2: .* and 2 more$"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_lines_are_named_and_nothing_is_read(case: str, tmp_path: Path) -> None:
    text, message = BAD[case]
    path = tmp_path / "choices.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_pairs(path)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"cannot be read: it is no text$"):
        read_pairs(tmp_path / "x.csv")
    with pytest.raises(InputError, match=r"cannot be read: No such file"):
        read_pairs(tmp_path / "none.csv")


def test_the_order_of_names() -> None:
    assert number_names(["10", "9", "9", "2"]) == ("2", "9", "10")
    assert number_names(["10", "9", "b", "a"]) == ("10", "9", "a", "b")


def write(folder: Path, **parts: str) -> Path:
    folder.mkdir(exist_ok=True)
    for part, text in parts.items():
        (folder / f"{part}.csv").write_text(text)
    return folder


def test_a_folder_of_parts(tmp_path: Path) -> None:
    folder = write(tmp_path / "own", train="b,y\na,x\nb,z\n", test="a,y\nb,z\n", val="c,w\n")
    found = read_interactions("interactions", folder)
    assert (found.users, found.items) == (("a", "b", "c"), ("w", "x", "y", "z"))
    assert {part: pairs.T.tolist() for part, pairs in found.parts.items()} == {
        "train": [[1, 2], [0, 1], [1, 3]],
        "test": [[0, 2]],  # b has z already
        "val": [[2, 0]],
    }


def test_a_single_file_is_split_by_user(tmp_path: Path) -> None:
    path = tmp_path / "all.csv"
    pairs = [(u, i) for u in range(6) for i in range(2 + 2 * u)]
    path.write_text("".join(f"{u},{i}\n" for u, i in pairs))
    first, again, other = (read_interactions("interactions", path, split) for split in (0, 0, 1))
    assert all(torch.equal(first.parts[part], again.parts[part]) for part in ("train", "test"))
    assert not torch.equal(first.parts["test"], other.parts["test"])
    tested = Counter(first.parts["test"][0].tolist())
    assert tested == {u: (2 + 2 * u) // 5 for u in range(2, 6)}
    assert sorted(map(tuple, torch.cat([*first.parts.values()], 1).T.tolist())) == pairs


WRONG = {
    "no folder": ("none", {}, "must be a folder with train.. and test.., or a file of choices$"),
    "no test": (
        "own",
        {"train": "a,b\n"},
        "has no test file; it must have test.txt, test.csv or test.tsv, or name a si",
    ),
    "nothing new": (
        "own",
        {"train": "a,b\n", "test": "a,b\n"},
        "has no choice in test that is not in train, too; give",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_folders_that_are_refused(case: str, tmp_path: Path) -> None:
    name, parts, message = WRONG[case]
    if parts:
        write(tmp_path / name, **parts)
    with pytest.raises(InputError, match=message):
        read_interactions("interactions", tmp_path / name)


def test_other_refusals(tmp_path: Path) -> None:
    folder = write(tmp_path / "own", train="a,b\n", test="a,c\n")
    (folder / "train.txt").write_text("a b")
    with pytest.raises(InputError, match=r"has train.csv and train.txt; leave one file of train$"):
        read_interactions("interactions", folder)
    (tmp_path / "few.csv").write_text("a,b\n")
    with pytest.raises(InputError, match=r"has no user with five items or more, of which one would be for the test$"):
        read_interactions("interactions", tmp_path / "few.csv")
    with pytest.raises(InputError, match=r"^dataset='digits' is not one of hidden_groups, lastfm, interactions"):
        read_interactions("digits", tmp_path)
    with pytest.raises(
        InputError, match=r"^noise=1.0 changes images; dataset='hidden_groups' has interactions, so leave"
    ):
        load_data("hidden_groups", noise=1.0)
    with pytest.raises(
        InputError, match=r"^part='train' of dataset='hidden_groups' is what scores leave out; evaluate t"
    ):
        load_part("hidden_groups", "", "train")


def test_every_interaction_comes_once_and_labels_are_what_is_held_out() -> None:
    data = load_data("hidden_groups", split=3, batch_size=500)
    found = read_interactions("hidden_groups", split=3)
    seen = [
        torch.stack([batch.inputs.users, batch.inputs.items, batch.indices])
        for batch in data.train
        if not batch.labels.any()
    ]
    users, items, indices = torch.cat(seen, 1)
    assert torch.equal(torch.stack([users, items]), found.parts["train"][:, indices])
    assert sorted(indices.tolist()) == list(range(2400))
    assert not torch.equal(indices, indices.sort().values)
    held_out = torch.cat([batch.labels for batch in data.test]).nonzero()
    assert sorted(map(tuple, held_out.tolist())) == sorted(map(tuple, found.parts["test"].T.tolist()))
    assert (data.task, data.kind, data.input_shape, data.num_classes) == (
        "ranking",
        "interaction",
        (300, 240),
        240,
    )
    part = load_part("hidden_groups", "", "test", limit_test=7)
    assert (part.kind, part.counted, part.task, part.loader.num_samples) == ("interaction", "user", "ranking", 7)


def test_fewer_interactions_are_a_smaller_graph() -> None:
    data = load_data("hidden_groups", limit_train=50)
    batch = next(iter(data.train))
    assert batch.inputs.edge_index.shape == (2, 50)
    assert torch.equal(next(iter(data.test)).inputs.edge_index, batch.inputs.edge_index)


def test_most_choices_stay_within_eight_groups() -> None:
    train, test = read_interactions("hidden_groups").parts.values()
    chosen = torch.zeros(300, 240, dtype=torch.double).index_put_((*train,), torch.ones((), dtype=torch.double))
    assert chosen.sum() == 2400
    values = torch.linalg.svdvals(chosen / (chosen.sum(1, keepdim=True) * chosen.sum(0).clamp_min(1)).sqrt())
    assert values[7] - values[8] > 2 * (values[8] - values[9])
    assert not set(map(tuple, train.T.tolist())) & set(map(tuple, test.T.tolist()))
