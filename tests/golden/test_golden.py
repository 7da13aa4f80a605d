"""Outputs and every gradient of published code, in float64: the compact copies, and all that is at hand."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from golden.__main__ import main
from golden.case import find_files, read_case
from golden.check import Verdict, check
from golden.entry import Entry, Refused
from golden.run import our_name
from pairwise import one_in

COPIES = list(find_files([Path(__file__).parent / "files"]))
SHARED = [Path(__file__).parents[3] / "shared" / folder for folder in ("golden", "systems")]
PUBLISHED = list(find_files([folder for folder in SHARED if folder.is_dir()]))


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """The tensors are small: more threads take longer."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("path", COPIES, ids=_name)
def test_ours_is_the_published(path: Path) -> None:
    assert check(read_case(path)) == Verdict("agrees")


@pytest.mark.parametrize("path", one_in(8, PUBLISHED), ids=_name)  # of each system, COPIES has one or two
def test_ours_is_all_of_the_published(path: Path) -> None:
    verdict = check(read_case(path))
    if verdict.status in ("refused", "unknown"):
        pytest.skip(verdict.detail)
    assert verdict.status == "agrees", verdict.detail


class Affine(nn.Module):
    """The layer in the tests of the table itself: y = W x + b, with a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(3, 2)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        return self.map(x)


AFFINE = Entry(lambda _: Affine(), inputs=("x",), names={"fc": "map"})


def _published(**more: Tensor | None) -> dict[str, Tensor]:
    """Return numbers of `Affine`, computed by hand."""
    x, weight, bias = torch.tensor([[1.0, -2, 3]]), torch.tensor([[2.0, 0, 1], [0, 1, 0]]), torch.tensor([0.5, -1])
    upstream = torch.tensor([[1.0, 10]])
    numbers = {
        "x": x,
        "param.fc.weight": weight,
        "param.fc.bias": bias,
        "buffer.seen": torch.tensor(4.0),
        "output": torch.tensor([[5.5, -3]]),
        "grad_output": upstream,
        "grad_x": torch.tensor([[2.0, 10, 1]]),
        "grad.fc.weight": torch.tensor([[1.0, -2, 3], [10, -20, 30]]),
        "grad.fc.bias": upstream[0],
        "buffer_after.seen": torch.tensor(5.0),
    } | more
    return {name: number for name, number in numbers.items() if number is not None}


@pytest.fixture
def verdict_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that checks numbers against an entry."""

    def verdict_of(entry: Entry | None, numbers: dict[str, Tensor], **config: object) -> Verdict:
        monkeypatch.setattr("golden.check.entry_of", lambda _: entry)
        numbers = {name: n.double() if n.is_floating_point() else n for name, n in numbers.items()}
        save_file(numbers, tmp_path / "one.safetensors", {"layer": "affine", "config": json.dumps(config)})
        return check(read_case(tmp_path / "one.safetensors"))

    return verdict_of


def test_what_agrees_agrees_to_the_last_tensor(verdict_of) -> None:
    assert verdict_of(AFFINE, _published()) == Verdict("agrees")
    assert verdict_of(AFFINE, _published(trace=torch.ones(2))) == Verdict("agrees", unseen=("trace",))
    assert "nothing of ours is grad_y" in verdict_of(AFFINE, _published(grad_y=torch.ones(2))).detail


@pytest.mark.parametrize("name", ["output", "grad_x", "grad.fc.weight", "grad.fc.bias", "buffer_after.seen"])
def test_one_wrong_entry_is_found(verdict_of, name: str) -> None:
    numbers = _published()
    numbers[name] = numbers[name].double()
    numbers[name].view(-1)[-1] += 1e-6
    verdict = verdict_of(AFFINE, numbers, slope=2)
    assert verdict.status == "differs"
    assert verdict.detail.startswith(f"{name}[")
    assert "by 1.0e-06" in verdict.detail
    assert "slope=2" in verdict.detail  # an option that the entry has not read


def test_parameters_without_a_place_are_found(verdict_of) -> None:
    extra = {"param.gain": torch.ones(1), "grad.gain": torch.ones(1)}
    assert "grad.gain" in verdict_of(AFFINE, _published(**extra)).detail
    unused = {"param.gain": torch.ones(1), "grad.gain": torch.zeros(1)}
    assert verdict_of(AFFINE, _published(**unused)) == Verdict("agrees")
    no_gradients = {name: None for name in _published() if name.startswith("grad")}
    assert (
        "param.gain has no place"
        in verdict_of(AFFINE, _published(**no_gradients, **unused | {"grad.gain": None})).detail
    )
    assert "nothing for map.bias" in verdict_of(AFFINE, _published(**{"param.fc.bias": None})).detail


def test_functions_losses_and_draws(verdict_of) -> None:
    x = torch.tensor([1.0, -2])
    loss = {"z": x, "loss": torch.tensor(5.0), "grad_z": 2 * x}
    assert verdict_of(Entry(lambda _: lambda z: z.square().sum(), ("z",), ("loss",)), loss) == Verdict("agrees")
    both = Entry(lambda _: lambda z: {"loss": z.square().sum(), "order": z.argsort()}, ("z",), ("loss", "order"))
    assert verdict_of(both, loss | {"order": torch.tensor([1, 0])}) == Verdict("agrees")
    assert "order[0]" in verdict_of(both, loss | {"order": torch.tensor([0, 1])}).detail
    arrays = Entry(lambda _: lambda z, draw: torch.from_numpy(z.numpy()[draw.numpy()]), ("z", "draw"), ("sample",))
    drawn = {"z": x, "draw": torch.tensor([1, 1, 0]), "sample": x[[1, 1, 0]]}
    assert verdict_of(arrays, drawn) == Verdict("agrees")
    assert "sample[2]" in verdict_of(arrays, drawn | {"sample": x[[1, 1, 1]]}).detail


def test_refused_and_unknown(verdict_of) -> None:
    def build(_):
        raise Refused("dilation=2: every other position")

    assert verdict_of(Entry(build), _published()) == Verdict("refused", "dilation=2: every other position")
    assert verdict_of(None, _published()).status == "unknown"


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("fc1.0.weight", "before.0.weight"),
        ("blocks.1.attn.qkv.bias", "blocks.1.mixer.qkv.bias"),
        ("nn.0.weight", "layer.weight"),
        ("m.nn.weight", "nn.weight"),
        ("fc10.weight", "fc10.weight"),
        ("m.unused.weight", None),
    ],
)
def test_names(theirs: str, ours: str | None) -> None:
    names = {"fc1": "before", "attn": "mixer", "nn.0": "layer", "m": "", "unused": None}
    assert our_name(theirs, names) == ours


def test_command_counts_and_fails_where_something_differs(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main([str(path) for path in COPIES[:2]]) == 0
    assert capsys.readouterr().out.endswith("2 agrees, 0 differs, 0 refused, 0 unknown\n")
    copy = next(path for path in COPIES if path.parent.name == "convnn")
    case = read_case(copy)
    tensors = {name: case.tensors[name].contiguous() for name in case.tensors}
    tensors["output"][0, 0] += 1e-3
    save_file(tensors, tmp_path / "changed.safetensors", dict(case.metadata))
    save_file(tensors, tmp_path / "new.safetensors", {"layer": "a layer that nobody knows", "config": "{}"})
    assert main([str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "changed" in out
    assert out.endswith("0 agrees, 1 differs, 0 refused, 1 unknown\n")
    (tmp_path / "half.safetensors").write_bytes(copy.read_bytes()[:100])
    assert main([str(tmp_path / "half.safetensors")]) == 1
    assert "the file cannot be read" in capsys.readouterr().out
    assert main([str(tmp_path / "nowhere")]) == 2
