"""Point clouds and meshes as PLY files, in text or binary.

The format (Turk, "The PLY Polygon File Format", 1994) is a header of elements and their properties, then the rows of
each element. Read are the elements `vertex` (x, y, z, perhaps nx, ny, nz) and `face` (lists of three corners); other
properties and elements are passed over.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convnn.data.surfaces.mesh import Mesh
from convnn.errors import InputError, check_choice
from convnn.files import write_atomically
from convnn.ops.cloud import Cloud

TYPES = {
    **{name: code for code, names in {
        "i1": "char int8", "u1": "uchar uint8", "i2": "short int16", "u2": "ushort uint16",
        "i4": "int int32", "u4": "uint uint32", "f4": "float float32", "f8": "double float64",
    }.items() for name in names.split()},
}  # fmt: skip
"""NumPy's codes of the types, by their names in files."""
ORDERS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}
Table = NDArray[np.number]
Columns = dict[str, dict[str, Table]]
"""The columns of each element."""
POSITION, NORMAL = ("x", "y", "z"), ("nx", "ny", "nz")
LISTS = ("vertex_indices", "vertex_index")


@dataclass
class Element:
    """An element of a header: its name, number of rows, and properties (name, type of a list's length or "", type)."""

    name: str
    count: int
    properties: list[tuple[str, str, str]] = field(default_factory=list)


def read_cloud(path: Path | str) -> Cloud:
    """Read points, with their normals if the file has them, as float64.

    Args:
        path: a PLY file, in text or binary.

    Raises:
        InputError: the file cannot be read, is no PLY file, ends early, or has no points.
    """
    return _cloud(Path(path), _read(Path(path)))


def has_faces(path: Path | str) -> bool:
    """Return whether a PLY file has faces, so that `read_mesh` reads it.

    Raises:
        InputError: the file cannot be read, or is no PLY file.
    """
    return any(element.name == "face" and element.count for element in _header(Path(path), _bytes(Path(path)))[1])


def read_mesh(path: Path | str) -> Mesh:
    """Read a mesh of triangles, its vertices as float64.

    Args:
        path: a PLY file, in text or binary.

    Raises:
        InputError: as `read_cloud`; or a face is no triangle, or names a vertex that is not there.
    """
    path = Path(path)
    rows = _read(path)
    name = next((name for name in LISTS if name in rows.get("face", {})), None)
    if name is None:
        raise InputError(f"'{path}' has no faces; a mesh needs an element face with a list {LISTS[0]}")
    faces = torch.from_numpy(rows["face"][name].astype(np.int64))
    vertices = _cloud(path, rows).points
    if faces.shape[1:] != (3,):
        raise InputError(f"'{path}' has faces of {faces.shape[1]} corners; they must be triangles")
    if faces.numel() and not 0 <= int(faces.min()) <= int(faces.max()) < len(vertices):
        raise InputError(f"'{path}' has a face at vertex {int(faces.max())}, but only {len(vertices)} vertices")
    return Mesh(vertices, faces)


def write_cloud(path: Path | str, cloud: Cloud, *, text: bool = False) -> None:
    """Write points and normals: float64 as double, all else as float; binary little endian, or text.

    Raises:
        OutputError: the file cannot be written.
    """
    names, columns = [*POSITION], [cloud.points]
    if cloud.normals is not None:
        names, columns = [*POSITION, *NORMAL], [cloud.points, cloud.normals]
    _write(Path(path), names, torch.cat(columns, 1), None, text)


def write_mesh(path: Path | str, mesh: Mesh, *, text: bool = False) -> None:
    """Write a mesh: float64 as double, all else as float; binary little endian, or text.

    Raises:
        OutputError: the file cannot be written.
    """
    _write(Path(path), POSITION, mesh.vertices, mesh.faces, text)


def _cloud(path: Path, rows: Columns) -> Cloud:
    columns = rows.get("vertex", {})
    if missing := [name for name in POSITION if name not in columns]:
        raise InputError(f"'{path}' has no property {missing[0]} of an element vertex; points need x, y and z")
    if not len(columns["x"]):
        raise InputError(f"'{path}' holds no points")
    points, normals = (
        torch.from_numpy(np.stack([columns[name] for name in names], 1).astype(np.float64))
        if all(name in columns for name in names)
        else None
        for names in (POSITION, NORMAL)
    )
    try:
        return Cloud(points, normals)  # type: ignore[arg-type]  # points are there
    except InputError as error:
        raise InputError(f"'{path}': {error}") from None


def _read(path: Path) -> Columns:
    """Return the columns of each element."""
    data = _bytes(path)
    order, elements, start = _header(path, data)
    read = _read_text if order == "=" else _read_binary
    try:
        return read(data[start:], order, elements)
    except (ValueError, IndexError) as error:
        raise InputError(f"'{path}' does not hold the rows that its header promises: {error}") from None


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror or error}") from None


def _header(path: Path, data: bytes) -> tuple[str, list[Element], int]:
    """Return the byte order, the elements, and where their rows start.

    Raises:
        InputError: it is no header.
    """
    if data[:3] != b"ply" or data[3:4] not in (b"\n", b"\r"):
        raise InputError(f"'{path}' is no PLY file; it must begin with a line ply")
    end = data.find(b"end_header")
    start = data.find(b"\n", end) + 1
    if end < 0 or not start:
        raise InputError(f"'{path}' has no line end_header")
    order, elements = "", list[Element]()
    for line in data[3:end].decode("ascii", "replace").splitlines():
        match line.split():
            case ["format", name, _]:
                check_choice(f"format of '{path}'", name, ORDERS)
                order = ORDERS[name]
            case ["element", name, count] if count.isdecimal():
                elements.append(Element(name, int(count)))
            case ["property", "list", length, kind, name] if elements and {length, kind} <= TYPES.keys():
                elements[-1].properties.append((name, TYPES[length], TYPES[kind]))
            case ["property", kind, name] if elements and kind in TYPES:
                elements[-1].properties.append((name, "", TYPES[kind]))
            case [] | ["comment" | "obj_info", *_]:
                pass
            case _:
                raise InputError(f"'{path}' has a line {line!r} in its header, which PLY does not know")
    if not order:
        raise InputError(f"'{path}' has no line format, such as format ascii 1.0")
    return order, elements, start


def _read_text(data: bytes, order: str, elements: Sequence[Element]) -> Columns:
    lines = [line for line in data.decode("ascii", "replace").splitlines() if line.strip()]
    found, first = {}, 0
    for element in elements:
        rows = [line.split() for line in lines[first : first + element.count]]
        if len(rows) < element.count:
            raise ValueError(f"{len(rows)} of {element.count} rows of {element.name}")
        first += element.count
        width = -1 if rows else 4 * len(element.properties)  # no rows, as of the faces of a cloud, have any
        table = np.array(rows, dtype=np.float64).reshape(element.count, width)
        lengths = {name: int(table[0, at]) for at, name in _lists(element)} if element.count else {}
        found[element.name] = _columns(element, table, lengths)
    return found


def _lists(element: Element) -> list[tuple[int, str]]:
    """Return a list that stands first of its element, the only place where this reader knows it."""
    lists = [(at, name) for at, (name, length, _) in enumerate(element.properties) if length]
    if len(lists) > 1 or (lists and lists[0][0]):
        raise ValueError(f"a list of {element.name} is not its first property")
    return lists


def _columns(element: Element, table: Table, lengths: dict[str, int]) -> dict[str, Table]:
    columns, at = {}, 0
    for name, length, _ in element.properties:
        if not length:
            columns[name], at = table[:, at], at + 1
            continue
        corners = lengths.get(name, 3)
        if (table[:, at] != corners).any():
            raise ValueError(f"rows of {element.name} are of different lengths")
        columns[name], at = table[:, at + 1 : at + 1 + corners], at + 1 + corners
    if element.count and at != table.shape[1]:
        raise ValueError(f"rows of {element.name} have {table.shape[1]} numbers instead of {at}")
    return columns


def _read_binary(data: bytes, order: str, elements: Sequence[Element]) -> Columns:
    found, start = {}, 0
    for element in elements:
        kinds: list[tuple[str, str] | tuple[str, str, tuple[int, ...]]] = []
        lists = {name for _, name in _lists(element)}
        for name, length, kind in element.properties:
            if name in lists:
                corners = int(np.frombuffer(data, order + length, 1, start)[0]) if element.count else 3
                kinds += [(f"{name} length", order + length), (name, order + kind, (corners,))]
            else:
                kinds.append((name, order + kind))
        rows = np.frombuffer(data, np.dtype(kinds), element.count, start)
        if any((rows[f"{name} length"] != rows[name].shape[1]).any() for name in lists):
            raise ValueError(f"rows of {element.name} are of different lengths")
        found[element.name] = {name: rows[name] for name, *_ in element.properties}
        start += rows.nbytes
    return found


def _write(path: Path, names: Sequence[str], rows: Tensor, faces: Tensor | None, text: bool) -> None:
    """Write rows of vertices, and faces if there are some."""
    is_double = rows.dtype == torch.float64
    table = rows.detach().cpu().numpy().astype("<f8" if is_double else "<f4")
    kind = "double" if is_double else "float"
    head = ["ply", f"format {'ascii' if text else 'binary_little_endian'} 1.0", f"element vertex {len(table)}"]
    head += [f"property {kind} {name}" for name in names]
    corners = np.empty((0, 3), "<i4") if faces is None else faces.cpu().numpy().astype("<i4")
    if faces is not None:
        head += [f"element face {len(corners)}", f"property list uchar int {LISTS[0]}"]
    header = "\n".join([*head, "end_header", ""])
    if text:
        lines = [" ".join(map(repr, row)) for row in table.tolist()]
        if not is_double:
            lines = [" ".join(str(number) for number in row) for row in table]
        lines += [f"3 {a} {b} {c}" for a, b, c in corners.tolist()]
        write_atomically(path, header, "\n".join([*lines, ""]))
        return
    packed = np.empty(len(corners), [("length", "u1"), ("corners", "<i4", (3,))])
    packed["length"], packed["corners"] = 3, corners
    write_atomically(path, header, table.tobytes(), packed.tobytes())
