"""The tutorial: a notebook that runs from top to bottom, and the page that shows it with its output.

`PYTHONPATH=docs python -m generate.notebook docs/tutorial.ipynb` runs every cell and keeps what it prints and draws.
"""

import base64
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

HERE = Path(__file__).parents[1]


def page(name: str) -> Iterator[str]:
    """Yield the lines of a page: text as it stands, code in a fence, and below it what it printed and drew."""
    for cell in read(HERE / f"{name}.ipynb")["cells"]:
        text = "".join(cell["source"])
        yield from ("", *(text if cell["cell_type"] == "markdown" else f"```py\n{text}\n```").splitlines(), "")
        for output in cell.get("outputs", ()):
            if output["output_type"] == "stream":
                yield from ("", "```text", *"".join(output["text"]).splitlines(), "```", "")
            else:
                yield from (
                    "",
                    f"![What the code above draws](data:image/png;base64,{output['data']['image/png']})",
                    "",
                )


def read(path: Path) -> dict[str, Any]:
    """Return a notebook, format 4."""
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return notebook


def run(notebook: dict[str, Any]) -> dict[str, Any]:
    """Run the code cells in order, in this process and folder, and return the notebook with their output."""
    import matplotlib

    matplotlib.use("Agg")
    namespace: dict[str, Any] = {"__name__": "tutorial"}
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(code, 1):
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), namespace)
        stream = {"output_type": "stream", "name": "stdout", "text": printed.getvalue().splitlines(keepends=True)}
        cell["outputs"] = ([stream] if printed.getvalue() else []) + list(_figures())
        cell["execution_count"] = number
    return notebook


def _figures() -> Iterator[dict[str, Any]]:
    """Yield the figures that are open, as a notebook keeps them, and close them."""
    from matplotlib import pyplot as plt

    for number in plt.get_fignums():
        drawn = io.BytesIO()
        plt.figure(number).savefig(drawn, dpi=100, bbox_inches="tight")
        picture = base64.b64encode(drawn.getvalue()).decode()
        yield {"output_type": "display_data", "metadata": {}, "data": {"image/png": picture}}
        plt.close(number)


def main() -> None:
    """Run a notebook in an empty folder and write it back."""
    path = Path(sys.argv[1]).resolve()
    os.chdir(tempfile.mkdtemp())  # for what the cells write
    notebook = run(read(path))
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
