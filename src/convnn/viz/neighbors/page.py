"""An interactive page that shows the neighbours of the pixel under the cursor, layer by layer, in one file."""

import json
import zlib
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Colormap, to_hex
from PIL import Image
from torch import Tensor

from convnn.errors import InputError, UnsupportedError, check_choice
from convnn.files import make_folder, write_atomically
from convnn.viz.figure import rank_colors
from convnn.viz.neighbors.layers import LayerNeighbors, best_first, choose_queries

SCRIPTS = ("layers.js", "draw.js", "page.js")  # in this order, as one script
SHADES = 64  # shades of each colour scale
ROUNDED = 8  # last bits of a float32 score that are dropped: five digits remain, and the file is a third smaller


def write_page(
    image: Tensor,
    layers: Sequence[LayerNeighbors],
    path: Path | str,
    *,
    title: str = "Neighbours",
    pixel: tuple[int, int] | None = None,
) -> Path:
    """Write a page with the neighbours of the pixel under the cursor in every layer, and how often each is chosen.

    The page is one HTML file that opens from disk: image, numbers, style and script are inside, and its security policy
    forbids loading anything else. It works with mouse, touch and keyboard; the address contains layer, pixel and view.
    If only some positions of a layer choose, the nearest one is shown, in the white frame.

    An empty page has 40 kB. Numbers are compressed: with K = 9, a layer of 224 x 224 positions takes 1 to 2 MB (3.2 MB
    for random neighbours), one of 32 x 32 about 32 kB.

    Args:
        image: (C, H, W) in [0, 1]; three channels are colours, otherwise their mean is shown in gray.
        layers: result of `find_neighbors` for this image.
        path: the page, .html.
        title: title of the page; any text.
        pixel: row and column of the pixel that is shown first; None chooses one where the image changes.

    Returns:
        The path.

    Raises:
        InputError: the pixel lies outside the image, or there is nothing to show.
        UnsupportedError: a map is longer than 32,767 positions.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    check_choice("suffix of the page", path.suffix.lower(), (".html",))
    _check(image, layers)
    row, column = choose_queries(image, 1)[0] if pixel is None else pixel
    height, width = image.shape[1:]
    if not (0 <= row < height and 0 <= column < width):
        raise InputError(f"pixel ({row}, {column}) lies outside the {height}x{width} image")
    data = {
        "image": {"height": height, "width": width, "source": _data_uri(image)},
        "start": {"row": row, "column": column},
        "rankColors": _shades(rank_colors(SHADES)),
        "heatColors": _shades(colormaps["viridis"].resampled(SHADES)),
        "layers": [_record(layer) for layer in layers],
    }
    make_folder(path.parent, "folder of the page")
    write_atomically(path, _assemble(title, data).encode("utf-8", "replace"))  # names of files may hold any bytes
    return path


def _check(image: Tensor, layers: Sequence[LayerNeighbors]) -> None:
    if image.dim() != 3:
        raise InputError(f"image of shape {tuple(image.shape)} must be (C, H, W)")
    if not layers:
        raise InputError("layers=[] must not be empty; pass the result of find_neighbors")


def _assemble(title: str, data: dict[str, Any]) -> str:
    """Assemble the file from template, style and script; all other parts are escaped for their context."""
    script = "\n".join(_part(name) for name in SCRIPTS)
    return Template(_part("template.html")).substitute(
        title=escape(title),
        style=_part("style.css"),
        data=json.dumps(data, separators=(",", ":")).replace("<", r"\u003c"),
        script=script,
        digest=b64encode(sha256(script.encode()).digest()).decode(),
    )


def _part(name: str) -> str:
    return (files("convnn.viz.neighbors") / "_page" / name).read_text(encoding="utf-8")


def _data_uri(image: Tensor) -> str:
    """Return the image as a PNG in a data URI."""
    colors = image if len(image) == 3 else image.mean(dim=0, keepdim=True).expand(3, -1, -1)
    pixels = (colors.detach().cpu().float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"


def _shades(colors: Colormap) -> list[str]:
    return [to_hex(color) for color in colors(np.arange(SHADES))]


def _record(layer: LayerNeighbors) -> dict[str, Any]:
    """Return the record that layers.js reads: the neighbours of each query, best first."""
    order = best_first(layer.scores)
    scores = layer.scores.float().gather(1, order).numpy()
    rows, columns = (layer.places[..., axis].gather(1, order).numpy() for axis in (0, 1))
    if max(abs(rows).max(), abs(columns).max()) >= 2**15:
        raise UnsupportedError(
            f"layer {layer.name} has a map of {layer.size} positions; a page holds sides up to 32767"
        )
    tables = [*layer.queries.T.numpy(), rows, columns]
    packed = [np.ascontiguousarray(table, dtype="<i2").tobytes() for table in tables]
    return {
        "name": layer.name,
        "height": layer.size[0],
        "width": layer.size[1],
        "outside": layer.outside,
        "heads": layer.heads,
        "gone": None if layer.gone is None else layer.gone.tolist(),
        "window": layer.window,
        "queries": len(layer.queries),
        "slots": layer.places.shape[1],
        "packed": b64encode(zlib.compress(b"".join([*packed, _rounded(scores).tobytes()]))).decode(),
    }


def _rounded(scores: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Round scores to fewer bits, which compress well; NaN and infinity are unchanged."""
    bits = np.ascontiguousarray(scores, dtype="<f4").view("<u4")
    nearest = (bits + np.uint32(1 << (ROUNDED - 1))) & np.uint32(2**32 - (1 << ROUNDED))
    return np.where(np.isfinite(scores), nearest.view("<f4"), scores)
