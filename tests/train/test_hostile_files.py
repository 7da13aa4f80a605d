"""Malicious checkpoints are refused in one sentence, before anything is executed or memory grows."""

import hashlib
import json
import os
import pickle
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from convnn.cli import main
from convnn.errors import InputError
from convnn.train import load_checkpoint, read_checkpoint
from pairwise import one_in

pytestmark = pytest.mark.usefixtures("no_gigabytes")

ZEROS = "0" * 64
MARK = b'\\"sha256\\": \\"'
DIGEST = f'"sha256": "{ZEROS}"'
RUN = (
    "--dataset digits --model resnet18 --width 0.0625 --layer Conv2d --limit_train 32 --limit_test 16 --batch_size 16"
    " --num_epochs 1 --scheduler step --device cpu"
)


@pytest.fixture(scope="module")
def run(train: Callable[[str], Path]) -> Path:
    folder = train(RUN)
    Image.new("L", (8, 8)).save(folder / "cat.png")
    return folder


@pytest.fixture
def refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return the refusal of a checkpoint by every command, or by one; file and folder stay unchanged."""

    def refused(path: Path, *names: str) -> str:
        content, picture = path.read_bytes(), str(run / "cat.png")
        argv = {
            "resume": ["train", "--resume", str(path)],
            "test": ["train", "--test_only", "--dataset", "digits", "--checkpoint", str(path)],
            "evaluate": ["evaluate", str(path), "--limit_test", "8"],
            "predict": ["predict", str(path), picture],
            "neighbors": ["neighbors", str(path), picture, "--out", str(tmp_path / "drawn")],
        }
        said = []
        for name in names or argv:
            assert main(argv[name]) == 2
            captured = capsys.readouterr()
            assert captured.err.count("\n") == 1
            assert len(captured.err) < 600
            assert str(path) in captured.err
            said.append(captured.err)
        assert path.read_bytes() == content
        assert not (tmp_path / "drawn").exists()
        return said[0]

    return refused


class Bomb:
    """A class whose unpickling creates a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (self.marker,)


WAYS_TO_PICKLE = {
    "pickle": lambda bomb, path: path.write_bytes(pickle.dumps(bomb)),
    "old pickle": lambda bomb, path: path.write_bytes(pickle.dumps(bomb, protocol=0)),
    "torch": lambda bomb, path: torch.save({"weights": bomb}, path),
    "old torch": lambda bomb, path: torch.save({"weights": bomb}, path, _use_new_zipfile_serialization=False),
}


@pytest.mark.parametrize(
    ("way", "name"), one_in(3, product(WAYS_TO_PICKLE, ["last.safetensors", "x.pt", "x.pth", "x"]))
)
def test_a_pickle_is_refused_and_not_executed(way: str, name: str, tmp_path: Path, refused) -> None:
    marker, path = tmp_path / "executed", tmp_path / name
    WAYS_TO_PICKLE[way](Bomb(marker), path)
    if "." in name:
        refused(path)
    else:
        refused(path, "evaluate", "predict", "neighbors", "test")  # to resume, a name without an ending is a folder
    assert not marker.exists()
    with path.open("rb") as file:
        torch.load(file, weights_only=False) if "torch" in way else pickle.load(file)
    assert marker.exists(), "the bomb works"


def test_weights_saved_by_torch_are_refused(tmp_path: Path, refused) -> None:
    path = tmp_path / "model.pt"
    torch.save({"state_dict": torch.nn.Linear(2, 2).state_dict()}, path)
    assert "is truncated or not a safetensors file" in refused(path)


def seal(header: bytes, data: bytes = b"", size: int | None = None) -> bytes:
    """Write a file whose digest fits: SHA-256 of all bytes, with the digest as zeros."""
    raw = (len(header) if size is None else size).to_bytes(8, "little") + header + data
    place = raw.index(MARK) + len(MARK)
    return raw[:place] + hashlib.sha256(raw).hexdigest().encode() + raw[place + 64 :]


def header(tensors: dict[str, Any] | str, metadata: Any = None, document: str = "") -> bytes:
    said = json.dumps({"convnn": document or f"{{{DIGEST}}}"} if metadata is None else metadata)
    of_tensors = tensors if isinstance(tensors, str) else json.dumps(tensors)[1:-1]
    return f'{{"__metadata__": {said}{", " if of_tensors else ""}{of_tensors}}}'.encode()


def tensor(start: Any = 0, end: Any = 8, shape: Any = (2,), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


PAIR = f'"x": {json.dumps(tensor())}'
HOSTILE_HEADERS = {
    "beyond the file": header({"x": tensor(0, 16, (4,))}),
    "far beyond the file": header({"x": tensor(2**63, 2**63 + 8)}),
    "backwards": header({"x": tensor(8, 0)}),
    "before the file": header({"x": tensor(-8, 0)}),
    "overlapping": header({"x": tensor(), "y": tensor(4, 12)}),
    "the same bytes": header({"x": tensor(), "y": tensor()}),
    "a hole": header({"x": tensor(0, 4, (1,)), "y": tensor(6, 8, (1,), "F16")}),
    "bytes of nobody": header({"x": tensor(0, 4, (1,))}),
    "two descriptions": header(f'{PAIR[:-2]}]}}, "__metadata__": {{}}'),
    "a huge shape": header({"x": tensor(shape=(2**62, 2**62))}),
    "a negative shape": header({"x": tensor(shape=(-2,))}),
    "another shape": header({"x": tensor(shape=(3,))}),
    "a shape of floats": header({"x": tensor(shape=(2.0,))}),
    "an unknown type": header({"x": tensor(dtype="OBJECT")}),
    "a type that torch lacks": header({"x": tensor(0, 8, (8,), "F8_WHAT")}),
    "no tensors": header({"x": 3}),
    "deep": header('"x": ' + "[" * 100_000 + "]" * 100_000),
    "deep objects": header('"x": ' + '{"a": ' * 100_000),
    "a wide list": header('"x": [' + "[]," * 1_000_000 + "[]]"),
    "metadata in a list": header(PAIR, [{"convnn": f"{{{DIGEST}}}"}]),
    "metadata of numbers": header(PAIR, {"convnn": 3, "x": f"{{{DIGEST}}}"}),
    "metadata of others": header(PAIR, {"pt": f"{{{DIGEST}}}"}),
    "metadata as a tensor": json.dumps({"x": tensor(), f"{{{DIGEST}}}": tensor()}).encode(),
    "no JSON": MARK + ZEROS.encode() + b'\\"',
    "not UTF-8": header(PAIR).replace(b"convnn", b"conv\xff\xff"),
}
DOCUMENTS = [
    "",
    "null",
    "3",
    "[]",
    '"x"',
    "{",
    "NaN",
    "[" * 100_000,
    '{"a":' * 100_000,
    "1" * 5000,
    "{}",
    '{"recipe": 3}',
]


@pytest.mark.parametrize("name", one_in(3, HOSTILE_HEADERS))
def test_headers_that_lie_are_refused_though_their_digest_fits(name: str, tmp_path: Path, refused) -> None:
    path = tmp_path / "last.safetensors"
    path.write_bytes(seal(HOSTILE_HEADERS[name], bytes(8)))
    assert "cannot be read: " in refused(path) or "was not written by convnn" in refused(path)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda text: text[:12])
def test_documents_that_are_none_are_refused(document: str, tmp_path: Path, refused) -> None:
    path = tmp_path / "last.safetensors"
    path.write_bytes(seal(header({}, {"convnn": document, "mark": f"{{{DIGEST}}}"})))
    refused(path, "resume", "evaluate")


@pytest.mark.parametrize("size", [0, 1, 7, 10**6, 2**25, 100_000_001, 2**63, 2**64 - 1])
def test_lengths_that_lie_are_refused(size: int, tmp_path: Path, refused) -> None:
    path = tmp_path / "last.safetensors"
    path.write_bytes(seal(header(PAIR), bytes(8), size))
    refused(path, "resume", "evaluate")


def test_a_header_of_another_size_than_runs_write_is_not_even_read(tmp_path: Path, refused) -> None:
    path = tmp_path / "last.safetensors"
    with path.open("wb") as file:
        file.write((2**33).to_bytes(8, "little"))
        file.truncate(2**33 + 8)  # eight gigabytes of nothing, which take no place
    with pytest.raises(InputError, match="its header does not fit its"):
        load_checkpoint(path)


@pytest.fixture(scope="module")
def content(run: Path) -> bytes:
    return (run / "best.safetensors").read_bytes()


@given(noise=st.binary(max_size=200), size=st.integers(0, 2**64 - 1))
@settings(max_examples=100, deadline=None)
def test_random_bytes_are_refused(run: Path, noise: bytes, size: int) -> None:
    path = run / "noise.safetensors"
    for start in (b"", size.to_bytes(8, "little"), len(noise).to_bytes(8, "little")):
        path.write_bytes(start + noise)
        with pytest.raises(InputError):
            read_checkpoint(path)


PIECES = st.sampled_from([b"0", b"9", b"-", b"e", b"n", b'"', b",", b"[", b"]", b"99999", b'":"']) | st.binary(
    max_size=3
)


@pytest.mark.slow
@given(changes=st.lists(st.tuples(st.integers(8, 12_000), PIECES), min_size=1, max_size=3))
@settings(max_examples=300, deadline=None)
def test_whatever_is_changed_in_the_header_of_a_checkpoint_it_loads_or_is_refused(
    run: Path, content: bytes, changes: list[tuple[int, bytes]]
) -> None:
    changed = bytearray(content)
    for place, what in changes:
        changed[place : place + len(what)] = what
    length, path = int.from_bytes(changed[:8], "little"), run / "changed.safetensors"
    if MARK in changed:
        path.write_bytes(seal(bytes(changed[8 : 8 + length]), bytes(changed[8 + length :])))
        try:
            network, recipe = load_checkpoint(path)
        except InputError:
            return
        assert network(torch.zeros(1, *recipe.input_shape)).shape == (1, len(recipe.classes))
