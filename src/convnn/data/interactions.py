"""Interactions of users with items as data for training: items are ranked for each user."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from convnn.data.epochs import EpochLoader, LoaderSettings
from convnn.data.interaction_files import Pair, find_parts, number_names, read_pairs
from convnn.data.interface import Batch, LabelledData
from convnn.data.options import INTERACTION_SETS, Options
from convnn.data.seeds import make_generator
from convnn.errors import InputError, check_choice
from convnn.nn.graphs.batch import InteractionBatch
from convnn.ops.edges import edge_rows

NO_STATISTICS: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())
TEST_SHARE = 0.2
GROUPS, GROUP_USERS, GROUP_ITEMS = 8, 300, 240
CHOSEN = (8, 4)
"""How many items each user of the hidden groups chose, for training and for the test."""


class Interactions(NamedTuple):
    """Who chose what.

    Attributes:
        users: name of each user.
        items: name of each item.
        parts: (2, E) int64 of each part, the user and the item of each interaction: train, test and perhaps val.
    """

    users: tuple[str, ...]
    items: tuple[str, ...]
    parts: Mapping[str, Tensor]


class ChoiceLoader(EpochLoader):
    """The interactions of training: a user and an item that it chose, which labels place first among candidates.

    Args:
        edge_index: (2, E) int64, the user and the item of each interaction.
        settings: settings of the batches.
    """

    def __init__(self, edge_index: Tensor, settings: LoaderSettings) -> None:
        super().__init__(edge_index.shape[1], settings)
        self._edges = edge_index.to(settings.device)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the current epoch."""
        for step in self._steps():
            indices = step.indices.to(self._settings.device)
            users, items = self._edges[:, indices]
            yield Batch(InteractionBatch(users, self._edges, items), torch.zeros_like(items), indices)


class UserLoader(EpochLoader):
    """The users of a part, and the items that each should get: labels (B, I) bool.

    Args:
        held_out: (2, E) int64, the user and the item of each interaction of the part.
        edge_index: (2, E') int64, those that were learned from.
        users: (n,) int64, the users that count.
        sizes: numbers of all users and of all items.
        settings: settings of the batches.
    """

    def __init__(
        self, held_out: Tensor, edge_index: Tensor, users: Tensor, sizes: tuple[int, int], settings: LoaderSettings
    ) -> None:
        super().__init__(len(users), settings)
        device = settings.device
        self._held_out, self._edges, self._users = held_out.to(device), edge_index.to(device), users.to(device)
        self._sizes = sizes

    def __iter__(self) -> Iterator[Batch]:
        """Yield the users in order."""
        for step in self._steps():
            indices = step.indices.to(self._settings.device)
            users = self._users[indices]
            labels = edge_rows(self._held_out, users, self._sizes)
            yield Batch(InteractionBatch(users, self._edges), labels, indices)


def build_interactions(options: Options) -> LabelledData:
    """Build loaders of interactions for training, and of the users with others for val and test.

    Raises:
        InputError: files are missing or have bad lines, or nothing is left to test.
    """
    found = read_interactions(options.name, options.data_path, options.split or 0)  # at least 0
    sizes = len(found.users), len(found.items)
    train = found.parts["train"]
    train = train[:, options.subset("train", train.shape[1])]

    def users_of(part: str) -> UserLoader:
        held_out = found.parts[part]
        users = held_out[0].unique()
        users = users[options.subset(part, len(users))]
        return UserLoader(held_out, train, users, sizes, options.settings(part, NO_STATISTICS))

    return LabelledData(
        options.name,
        ChoiceLoader(train, options.settings("train", NO_STATISTICS)),
        users_of("test"),
        found.items,
        sizes,
        *NO_STATISTICS,
        users_of("val") if "val" in found.parts else None,
        task="ranking",
        kind="interaction",
    )


def read_interactions(name: str, data_path: Path | str = "./Data", split: int = 0) -> Interactions:
    """Return a data set of interactions.

    Users and items are numbered in the order of their names: as numbers where all names are numbers, else by their
    letters. An item that a user chose in training does not count again in val or test.

    Args:
        name: "hidden_groups", which needs no file: 300 users and 240 items in 8 groups, where most choices stay within
            the group; "lastfm", whose files train.txt and test.txt are in data_path/lastfm; or "interactions", files
            of your own: a folder with train.* and test.*, perhaps val.*, or one file, of which a fifth of each user's
            items is drawn for the test. `convnn.data.interaction_files.read_pairs` says what they hold.
        data_path: folder or file.
        split: seed of that drawing, and of the hidden groups.

    Raises:
        InputError: the name is unknown, files are missing or have bad lines, or nothing is left to train or test.
    """
    check_choice("dataset", name, INTERACTION_SETS)
    if name == "hidden_groups":
        train, test = hidden_groups(split)
        names = tuple(map(str, range(GROUP_USERS))), tuple(map(str, range(GROUP_ITEMS)))
        return Interactions(*names, {"train": train, "test": test})
    folder = Path(data_path).expanduser()
    if name == "lastfm" and (folder / "lastfm").is_dir():
        folder = folder / "lastfm"
    if folder.is_file() and name == "interactions":
        pairs = read_pairs(folder)
        users, items = (number_names(pair[end] for pair in pairs) for end in (0, 1))
        return Interactions(users, items, _split(_numbered(pairs, users, items), split, folder))
    if not folder.is_dir():
        raise InputError(f"data_path={str(data_path)!r} must be a folder with train.* and test.*, or a file of choices")
    parts = {part: read_pairs(path) for part, path in find_parts(folder).items()}
    users, items = (number_names(pair[end] for pairs in parts.values() for pair in pairs) for end in (0, 1))
    learned = set(parts["train"])
    for part in parts.keys() - {"train"}:
        parts[part] = [pair for pair in parts[part] if pair not in learned]
        if not parts[part]:
            raise InputError(f"'{folder}' has no choice in {part} that is not in train, too; give others")
    return Interactions(users, items, {part: _numbered(pairs, users, items) for part, pairs in parts.items()})


def hidden_groups(seed: int) -> tuple[Tensor, Tensor]:
    """Draw interactions (2, E) for training and for the test: users choose items of their group, and few others."""
    generator = torch.Generator().manual_seed(seed)
    of_user, of_item = (torch.randint(GROUPS, (count,), generator=generator) for count in (GROUP_USERS, GROUP_ITEMS))
    popularity = torch.rand(GROUP_ITEMS, generator=generator).square() + 0.1
    likely = popularity * torch.where(of_user.unsqueeze(1) == of_item, 1.0, 0.06)
    train, test = likely.multinomial(sum(CHOSEN), generator=generator).split(CHOSEN, 1)
    return _pairs_of(train), _pairs_of(test)


def _pairs_of(chosen: Tensor) -> Tensor:
    """Return the pairs (2, U n) of the items (U, n) that each user chose."""
    return torch.stack([torch.arange(len(chosen)).repeat_interleave(chosen.shape[1]), chosen.flatten()])


def _numbered(pairs: Sequence[Pair], users: Sequence[str], items: Sequence[str]) -> Tensor:
    places = tuple({name: number for number, name in enumerate(names)} for names in (users, items))
    return torch.tensor([[place[pair[end]] for pair in pairs] for end, place in enumerate(places)])


def _split(pairs: Tensor, seed: int, path: Path) -> dict[str, Tensor]:
    """Draw a fifth of the items of each user for the test, rounded down."""
    order = torch.randperm(pairs.shape[1], generator=make_generator("interactions", seed))
    order = order[pairs[0, order].argsort(stable=True)]
    counts = pairs[0].bincount()
    rank = torch.arange(len(order)) - (counts.cumsum(0) - counts)[pairs[0, order]]
    is_test = torch.zeros(len(order), dtype=torch.bool)
    is_test[order] = rank < (counts * TEST_SHARE).long()[pairs[0, order]]
    if not is_test.any():
        raise InputError(f"'{path}' has no user with five items or more, of which one would be for the test")
    return {"train": pairs[:, ~is_test], "test": pairs[:, is_test]}
