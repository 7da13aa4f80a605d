"""`convnn surface`: runs on clouds and photographs, resumed to the bit, and the meshes of their checkpoints."""

import json
import shlex
from pathlib import Path

import pytest
import torch

from convnn.cli import main, main_train
from convnn.data.surfaces.ply import read_cloud, read_mesh, write_cloud
from convnn.data.surfaces.shapes import Sphere
from convnn.models import create_model
from convnn.tasks.surface.reconstruct import mesh_of
from convnn.train import load_checkpoint, read_checkpoint
from pairwise import only
from same_runs import assert_same, killed_after, rows_of

COMMON = "--device cpu --limit_test 1 --num_epochs 2 --scheduler none"
FLAGS = {
    "kernel_field": f"--length 60 --limit_train 4 --batch_size 2 --num_layers 2 --d_hidden 8 --lr 0.02 {COMMON}",
    "splats": "--model splats --splat_kind free --num_gaussians 300 --limit_train 2 --batch_size 1 --surface_from 2"
    f" {COMMON}",
}


def run_of(model: str, folder: Path, *more: str) -> int:
    return main(["surface", "train", *shlex.split(FLAGS[model]), "--output_dir", str(folder), *more])


@pytest.fixture(scope="module", params=list(FLAGS))
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Return the name of a network and the folder of its run."""
    folder = tmp_path_factory.mktemp(request.param) / "run"
    assert run_of(request.param, folder) == 0
    return request.param, folder


def test_a_run_learns_and_its_tables_have_terms_and_figures(finished: tuple[str, Path]) -> None:
    model, folder = finished
    first, last = rows_of(folder)
    assert read_checkpoint(folder / "last.safetensors").recipe.model == model
    network = create_model(model)
    assert {f"term_{name}" for name in network.terms} | {f"test_{name}" for name in network.figures} < first.keys()
    assert float(last["test_loss"]) < float(first["test_loss"])
    if model == "splats":  # whose last terms join in the second epoch
        assert float(first["term_distortion"]) == float(first["term_normals"]) == 0
        assert float(last["term_distortion"]) > 0
        assert float(last["term_normals"]) > 0


@pytest.mark.parametrize("steps", only((3).__eq__, [1, 3]))
def test_a_run_killed_after_a_step_resumes_to_the_bit(steps: int, finished: tuple[str, Path], tmp_path: Path) -> None:
    model, folder = finished
    with killed_after(steps):
        assert run_of(model, tmp_path, "--checkpoint_every", "1") == 2
    assert main_train(["--resume", str(tmp_path)]) == 0
    assert_same(tmp_path, folder)


def test_evaluation_repeats_the_last_row_and_a_checkpoint_gives_a_mesh(
    finished: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("skimage")
    model, folder = finished
    assert main(["surface", "evaluate", str(folder), "--limit_test", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    row = rows_of(folder)[load_checkpoint(folder)[1].epoch - 1]
    for name in create_model(model).figures:
        assert found[name] == pytest.approx(float(row[f"test_{name}"]), abs=1e-5)
    points = tmp_path / "points.ply"
    write_cloud(points, Sphere(0.8).sample(200, torch.Generator().manual_seed(0)))
    given, coarse = ([str(points)], "1") if model == "kernel_field" else ([], "12")
    words = ["surface", "reconstruct", *given, "--checkpoint", str(folder), "--out", str(tmp_path / "mesh.ply")]
    assert main([*words, "--resolution", coarse, "--picture", str(tmp_path / "a.png"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    mesh = read_mesh(tmp_path / "mesh.ply")
    assert len(mesh.vertices) == told["vertices"] > 20
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    if model == "kernel_field":
        network = load_checkpoint(folder)[0].eval().double()
        wanted = mesh_of(network.field_of(read_cloud(points)), 1)
        torch.testing.assert_close(mesh.vertices, wanted.vertices)
    assert main([*words, "--overwrite", "--tau", "1"]) == 2
    assert f"--tau=1.0 is not for --checkpoint={folder}; leave one of them out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train --model vgg11", "--model=vgg11 finds no surfaces; give kernel_field for points, or splats for photogr"),
        ("train --layer ConvNN", "--layer='ConvNN' has no place in --model='kernel_field'; leave it out"),
        ("train --dataset scene", "reads clouds, but --dataset=scene has photographs; the data sets of clouds are"),
        ("train --model splats --dataset clouds", "reads photographs, but --dataset=clouds has clouds"),
        ("train --data_path EMPTY", "has no files *.ply; clouds belong in DIR/train/*.ply"),
        ("train --model splats --data_path EMPTY", "transforms.json' cannot be read: No such"),
        ("train --dataset ply --data_path EMPTY", "has no files *.ply; clouds belong in DIR/train/*.ply"),
        ("train --model splats --dataset transforms --data_path EMPTY", "transforms.json' cannot be read: No such"),
        ("train --points_per_voxel 1", "--points_per_voxel"),
        ("train --model splats --num_gaussians 3", "--num_gaussians=3 must be"),
        ("train --resize 20", "--resize=20 changes images; --dataset="),
        ("reconstruct --out EMPTY/mesh.ply", "no points were given; name a file POINTS.ply, or the --checkpoint"),
    ],
)
def test_bad_words_are_told_in_a_sentence(
    words: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = words.replace("EMPTY", str(tmp_path))
    given = ["--output_dir", str(tmp_path / "new")] if words.startswith("train") else []
    assert main(["surface", *words.split(), *given]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
