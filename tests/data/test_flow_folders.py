"""Folders of pairs with their flow: formats, layouts, sizes, and files that are broken or missing."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from convnn.data import load_data, load_part
from convnn.data.flow_files import read_flow, write_flow
from convnn.data.flow_folders import fit_pair, list_pairs, read_pair
from convnn.errors import InputError
from convnn.nn.matches.batch import ImagePairs


def write_pair(stem: Path, flow: Tensor | None = None, seed: int = 0, end: str = ".flo") -> Tensor:
    """Write NAME_1.png, NAME_2.png and NAME.flo, of 10 x 8 pixels."""
    generator = torch.Generator().manual_seed(seed)
    flow = torch.randn(2, 8, 10, generator=generator) if flow is None else flow
    stem.parent.mkdir(parents=True, exist_ok=True)
    for which in (1, 2):
        pixels = torch.randint(256, (8, 10, 3), dtype=torch.uint8, generator=generator)
        Image.fromarray(pixels.numpy()).save(f"{stem}_{which}.png")
    if end == ".flo":
        write_flow(flow, f"{stem}.flo")
    else:
        np.save(f"{stem}.npy", flow.numpy())
    return flow


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        write_pair(tmp_path / "train" / "deep" / f"{number}", seed=number)
    write_pair(tmp_path / "test" / "a", seed=7)
    return tmp_path


def test_a_flo_file_is_what_middlebury_says(tmp_path: Path) -> None:
    values = [1.5, -2.0, 3.0, 4.0, 1e10, 0.0]  # of two pixels of one row, and of one whose motion is not known
    (tmp_path / "x.flo").write_bytes(struct.pack("<fii", 202021.25, 3, 1) + struct.pack("<6f", *values))
    flow, known = read_flow(tmp_path / "x.flo")
    assert flow.tolist() == [[[1.5, 3.0, 0.0]], [[-2.0, 4.0, 0.0]]]
    assert known.tolist() == [[True, True, False]]
    write_flow(torch.tensor([[[1.5, 3.0]], [[-2.0, 4.0]]]), tmp_path / "y.flo")
    assert (tmp_path / "y.flo").read_bytes() == struct.pack("<fii4f", 202021.25, 2, 1, *values[:4])


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 2, 0)])
def test_an_array_may_have_its_two_numbers_first_or_last(axes: tuple[int, ...], tmp_path: Path) -> None:
    wanted = torch.randn(2, 3, 4)
    wanted[0, 1, 1] = float("nan")
    np.save(tmp_path / "x.npy", wanted.permute(axes).double().numpy())
    flow, known = read_flow(tmp_path / "x.npy")
    assert torch.equal(flow[:, known], wanted[:, known])
    assert int((~known).sum()) == 1


def test_batches_are_the_files(folder: Path) -> None:
    data = load_data("flowfolder", folder, batch_size=2)
    assert (data.input_shape, data.train.num_samples, data.val) == ((3, 8, 10), 3, None)
    [batch] = data.test
    first, second, flow, known = batch.inputs
    assert torch.equal(flow[0], read_flow(folder / "test" / "a.flo")[0])
    wanted = [np.array(Image.open(folder / "test" / f"a_{which}.png")) for which in (1, 2)]
    for found, image in zip((first, second), wanted, strict=True):
        assert torch.equal(found[0], torch.from_numpy(image).permute(2, 0, 1).float())
    assert known.all()
    assert sorted(len(one.labels) for one in data.train) == [3]  # the last one joins the batch before it


def test_a_layout_as_sintel_has_it(tmp_path: Path) -> None:
    for number in (9, 10, 11):
        place = tmp_path / "clean" / "alley" / f"frame_{number:04}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 4), (number, 0, 0)).save(place)
    for number in (9, 10):
        place = tmp_path / "flow" / "alley" / f"frame_{number:04}.flo"
        place.parent.mkdir(parents=True, exist_ok=True)
        write_flow(torch.full((2, 4, 6), float(number)), place)
    pairs = [read_pair(files) for files in list_pairs(tmp_path)]
    assert [(p.first[0, 0, 0, 0].item(), p.second[0, 0, 0, 0].item(), p.flow[0, 0, 0, 0].item()) for p in pairs] == [
        (9, 10, 9),
        (10, 11, 10),
    ]


@pytest.mark.parametrize(("how", "factors"), [("stretch", (0.6, 0.75)), ("crop", (0.75, 0.75)), ("pad", (0.6, 0.6))])
def test_the_flow_is_scaled_with_its_images(how: str, factors: tuple[float, float]) -> None:
    row, column = torch.meshgrid(torch.arange(80.0), torch.arange(100.0), indexing="ij")
    ramp = (column + row).expand(1, 3, -1, -1)
    pair = ImagePairs(ramp, ramp, torch.ones(1, 2, 80, 100), torch.ones(1, 80, 100, dtype=torch.bool))
    found = fit_pair(pair, (60, 60), how)
    inside = found.known[0]
    assert found.first.shape == (1, 3, 60, 60)
    for axis, factor in enumerate(factors):
        assert torch.allclose(found.flow[0, axis][inside], torch.tensor(factor))
    assert inside.double().mean().item() == pytest.approx(0.8 if how == "pad" else 1)
    line = found.first[0, 0, 30]  # the image is scaled by the same
    assert ((line[50] - line[10]) / 40).item() == pytest.approx(1 / factors[0], abs=0.02)
    assert torch.equal(fit_pair(pair, (80, 100), how).first, ramp)


def test_one_part_may_be_alone(folder: Path) -> None:
    (folder / "test").rename(folder / "val")
    assert load_data("flowfolder", folder).test.num_samples == 1
    for path in (folder / "train").rglob("*.*"):
        path.unlink()
    part = load_part("flowfolder", folder, "test")
    assert (part.name, part.loader.num_samples, part.input_shape) == ("val", 1, (3, 8, 10))


def broken(folder: Path, how: str) -> None:
    flow, frame = folder / "train" / "deep" / "1.flo", folder / "train" / "deep" / "1_2.png"
    if how == "short":
        flow.write_bytes(flow.read_bytes()[:-4])
    elif how == "other":
        flow.write_bytes(b"PNG" + bytes(200))
    elif how == "unknown":
        write_flow(torch.full((2, 8, 10), 2e9), flow)
    elif how == "array":
        flow.unlink()
        np.save(flow.with_suffix(".npy"), np.zeros((3, 4)))
    elif how == "frame":
        frame.unlink()
    elif how == "text":
        frame.write_text("no picture")
    elif how == "sizes":
        write_flow(torch.zeros(2, 8, 9), flow)
    elif how == "larger":
        Image.new("RGB", (4, 4)).save(frame)
        Image.new("RGB", (4, 4)).save(frame.with_name("1_1.png"))
        write_flow(torch.zeros(2, 4, 4), flow)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("short", r"the flow \S*1\.flo of 10x8 pixels must have 12 \+ 8 x 10 x 8 bytes, not 648"),
        ("other", r"the flow \S*1\.flo does not begin as a \.flo file"),
        ("unknown", r"the flow \S*1\.flo is known of no pixel"),
        ("array", r"the flow \S*1\.npy of shape \(3, 4\) must be \(H, W, 2\) or \(2, H, W\)"),
        ("frame", r"the flow \S*1\.flo has no frame \S*1_2\.png"),
        ("text", r"cannot read the image \S*1_2\.png"),
        ("sizes", r"the flow \S*1\.flo is 9x8 pixels, but its frame \S*1_1\.png is 10x8"),
        ("larger", r"the flow \S*1\.flo is 4x4 pixels, but the first of train is 10x8; set resize"),
    ],
)
def test_a_file_that_is_wrong_is_named(how: str, message: str, folder: Path) -> None:
    broken(folder, how)
    with pytest.raises(InputError, match=message):
        list(load_data("flowfolder", folder).train)


def test_broken_files_can_be_skipped(folder: Path) -> None:
    broken(folder, "short")
    train = load_data("flowfolder", folder, on_bad_image="skip").train
    assert [len(batch.labels) for batch in train] == [2]
    assert len(train.broken) == 1


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere", r"data_path='\S*nowhere' has neither val/ nor test/"),
        ("train", r"data_path='\S*train' has neither val/ nor test/"),
    ],
)
def test_folders_that_are_missing(path: str, message: str, folder: Path) -> None:
    with pytest.raises(InputError, match=message):
        load_data("flowfolder", folder / path)
    (folder / "test" / "a.flo").unlink()
    with pytest.raises(InputError, match=r"the folder \S*test has no flow"):
        load_data("flowfolder", folder)


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x\.png must be a file that ends in \.flo"):
        write_flow(torch.zeros(2, 3, 3), tmp_path / "x.png")
    with pytest.raises(InputError, match=r"flow of shape \(3, 3\) must be \(2, H, W\)"):
        write_flow(torch.zeros(3, 3), tmp_path / "x.flo")
