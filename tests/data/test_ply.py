"""PLY files: bytes written by hand, and what is written comes back; bad files are told in a sentence."""

import struct
from pathlib import Path

import pytest
import torch

from convnn.errors import InputError
from convnn.tasks.surface import Cloud, Mesh, read_cloud, read_mesh, write_cloud, write_mesh

TEXT = """ply
format ascii 1.0
comment a triangle, and a material that nobody asked for
element vertex 3
property float x
property float y
property float z
property uchar red
element face 1
property list uchar int vertex_indices
element material 1
property int shine
end_header
0 0 0 255
1 0 0.5 0
0 1 -2e-1 7
3 0 1 2
4
"""


def test_text_written_by_hand_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.ply").write_text(TEXT)
    mesh = read_mesh(tmp_path / "a.ply")
    assert mesh.vertices.tolist() == [[0, 0, 0], [1, 0, 0.5], [0, 1, -0.2]]
    assert mesh.faces.tolist() == [[0, 1, 2]]
    cloud = read_cloud(tmp_path / "a.ply")
    assert cloud.points.equal(mesh.vertices)
    assert cloud.normals is None
    (tmp_path / "a.ply").write_bytes(TEXT.replace("\n", "\r\n").encode())
    assert read_mesh(tmp_path / "a.ply").faces.equal(mesh.faces)


@pytest.mark.parametrize(("name", "order"), [("binary_little_endian", "<"), ("binary_big_endian", ">")])
def test_bytes_packed_by_hand_are_read(name: str, order: str, tmp_path: Path) -> None:
    header = (
        f"ply\nformat {name} 1.0\nelement vertex 3\nproperty double nx\nproperty double ny\nproperty double nz\n"
        "property float x\nproperty float y\nproperty float z\nproperty short tag\n"
        "element face 2\nproperty list uchar uint vertex_index\nend_header\n"
    )
    rows = [(0.0, 0.0, 1.0, float(i), 0.25, -float(i), 9) for i in range(3)]
    data = b"".join(struct.pack(f"{order}dddfffh", *row) for row in rows)
    data += struct.pack(f"{order}BIII", 3, 0, 1, 2) + struct.pack(f"{order}BIII", 3, 2, 1, 0)
    (tmp_path / "a.ply").write_bytes(header.encode() + data)
    cloud = read_cloud(tmp_path / "a.ply")
    assert cloud.points.tolist() == [[0, 0.25, 0], [1, 0.25, -1], [2, 0.25, -2]]
    assert cloud.normals.tolist() == [[0, 0, 1]] * 3
    assert read_mesh(tmp_path / "a.ply").faces.tolist() == [[0, 1, 2], [2, 1, 0]]


def test_what_is_written_has_the_published_layout(tmp_path: Path) -> None:
    write_mesh(tmp_path / "a.ply", Mesh(torch.eye(3), torch.tensor([[0, 1, 2]])))
    header, _, data = (tmp_path / "a.ply").read_bytes().partition(b"end_header\n")
    assert header.decode().splitlines() == [
        *("ply", "format binary_little_endian 1.0", "element vertex 3"),
        *(f"property float {name}" for name in "xyz"),
        *("element face 1", "property list uchar int vertex_indices"),
    ]
    assert data == struct.pack("<9f", 1, 0, 0, 0, 1, 0, 0, 0, 1) + struct.pack("<Biii", 3, 0, 1, 2)


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_bit_is_lost(text: bool, dtype: torch.dtype, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    points, normals = torch.randn(2, 50, 3, generator=generator, dtype=dtype)
    write_cloud(tmp_path / "a.ply", Cloud(points / 3, normals), text=text)
    found = read_cloud(tmp_path / "a.ply")
    assert found.points.to(dtype).equal(points / 3)
    assert found.normals.to(dtype).equal(normals)
    faces = torch.randint(50, (70, 3), generator=generator)
    write_mesh(tmp_path / "b.ply", Mesh(points, faces), text=text)
    mesh = read_mesh(tmp_path / "b.ply")
    assert mesh.vertices.to(dtype).equal(points)
    assert mesh.faces.equal(faces)


BAD = [
    ("ply", "plx", "is no PLY file; it must begin with a line ply"),
    ("end_header", "end", "has no line end_header"),
    ("ascii", "utf8", "format of .*'utf8' is not one of ascii"),
    ("format ascii 1.0\n", "", "has no line format"),
    ("property uchar red", "property colour red", "has a line 'property colour red' in its header"),
    ("property float y", "property float u", "has no property y of an element vertex"),
    ("element vertex 3", "element vertex 7", "does not hold the rows that its header promises"),
    ("0 1 -2e-1 7", "0 1 north 7", "does not hold the rows that its header promises"),
    ("0 1 -2e-1 7", "0 1 nan 7", r"points\[2\]=\[0.0, 1.0, nan\] must be finite"),
    ("0 1 -2e-1 7", "0 1 7", "does not hold the rows that its header promises"),
    ("3 0 1 2", "3 0 1 3", "has a face at vertex 3, but only 3 vertices"),
    ("3 0 1 2", "4 0 1 2 1", "has faces of 4 corners; they must be triangles"),
    ("property list uchar int vertex_indices", "property list uchar int corners", "has no faces"),
]


@pytest.mark.parametrize(("old", "new", "message"), BAD)
def test_bad_files_are_told_in_a_sentence(old: str, new: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.ply").write_text(TEXT.replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        read_mesh(tmp_path / "a.ply")


def test_files_that_are_not_there_end_early_or_hold_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere.ply' cannot be read: No such file"):
        read_cloud(tmp_path / "nowhere.ply")
    write_cloud(tmp_path / "a.ply", Cloud(torch.ones(4, 3)))
    (tmp_path / "a.ply").write_bytes((tmp_path / "a.ply").read_bytes()[:-1])
    with pytest.raises(InputError, match="does not hold the rows that its header promises"):
        read_cloud(tmp_path / "a.ply")
    header, _, rows = TEXT.replace("vertex 3", "vertex 0").partition("0 0 0 255\n")
    (tmp_path / "a.ply").write_text(header + rows.partition("7\n")[2])
    with pytest.raises(InputError, match="holds no points"):
        read_cloud(tmp_path / "a.ply")


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian"])
def test_clouds_may_have_no_faces(form: str, tmp_path: Path) -> None:
    write_mesh(tmp_path / "a.ply", Mesh(torch.ones(2, 3), torch.empty(0, 3).long()), text=form == "ascii")
    assert f"format {form} 1.0\n".encode() in (tmp_path / "a.ply").read_bytes()
    assert read_cloud(tmp_path / "a.ply").points.tolist() == [[1, 1, 1]] * 2


def test_clouds_are_checked() -> None:
    with pytest.raises(InputError, match=r"points of shape \(0, 3\) and torch.float32 must be \(N, 3\)"):
        Cloud(torch.ones(0, 3))
    with pytest.raises(InputError, match=r"normals of shape \(2, 3\) must have a row for each of the 3 points"):
        Cloud(torch.ones(3, 3), torch.ones(2, 3))
