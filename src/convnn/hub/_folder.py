"""A network in the layout of the Hugging Face hub, on the disk and on the hub."""

import json
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

from convnn.errors import InputError, OutputError, first_line
from convnn.files import make_folder, write_atomically
from convnn.hub._card import model_card
from convnn.models import Network
from convnn.packages import need
from convnn.train import Checkpoint, Recipe, load_checkpoint, save_checkpoint
from convnn.train.checkpoint import CONFIG, WEIGHTS, check_recipe

CARD = "README.md"
FILES = (CONFIG, WEIGHTS, CARD)
"""What is in a folder of the hub."""


def save_pretrained(network: Network, recipe: Recipe, folder: str | Path, *, license: str | None = None) -> Path:
    """Write config.json, the recipe; model.safetensors, the weights; and README.md, the model card.

    Args:
        network: whose weights are written.
        recipe: how it was built, and what it learned; of `convnn.train.load_checkpoint` for one.
        folder: made where it is missing; the three files in it are replaced.
        license: of the weights, by its name on the hub, such as "mit"; the card names none when None.

    Returns:
        The folder.

    Raises:
        InputError: the recipe is not that of the network, or huggingface_hub is not installed.
        OutputError: the folder cannot be written.
    """
    check_installed()
    folder = Path(folder)
    recipe = replace(recipe, data_path="")  # a folder of this machine, which is nobody else's concern
    checkpoint = Checkpoint(dict(network.state_dict()), recipe)
    check_recipe(checkpoint, folder)
    make_folder(folder, "folder")
    write_atomically(folder / CARD, model_card(network, recipe, license=license))
    write_atomically(folder / CONFIG, json.dumps(asdict(recipe), indent=2) + "\n")
    save_checkpoint(folder / WEIGHTS, checkpoint)
    return folder


def from_pretrained(
    name: str | Path, *, revision: str | None = None, token: str | None = None
) -> tuple[Network, Recipe]:
    """Load the network of a folder that `save_pretrained` has written, here or on the Hugging Face hub, and its recipe.

    Nothing is executed: the weights are safetensors with a digest, the recipe is checked before it is believed. A local
    folder needs no network and no huggingface_hub; of the hub, what was fetched before is found again offline.

    Args:
        name: a folder, or "user/network" on the hub.
        revision: branch, tag or commit on the hub; its main branch when None.
        token: of the user, for private networks; the one that is logged in when None.

    Returns:
        The network, in evaluation mode on the CPU, and how its images were normalised and its classes are called.

    Raises:
        InputError: there is no such folder or network, or its files are damaged or not of this package.
    """
    return load_checkpoint(name if Path(name).is_dir() else _fetch(str(name), revision, token))


def push_to_hub(
    network: Network,
    recipe: Recipe,
    name: str,
    *,
    private: bool | None = None,
    license: str | None = None,
    token: str | None = None,
    message: str = "Upload network",
) -> str:
    """Upload what `save_pretrained` writes to the Hugging Face hub.

    Args:
        network, recipe, license: as in `save_pretrained`.
        name: "user/network" on the hub, made where it is missing.
        private: whether a new one can be seen by nobody else; the user's default when None.
        token: of the user; the one that is logged in when None.
        message: of the commit.

    Returns:
        The address of the commit.

    Raises:
        InputError: the recipe is not that of the network, or huggingface_hub is not installed.
        OutputError: the hub refuses.
    """
    check_installed()
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(network, recipe, folder, license=license)
        try:
            hub = HfApi(token=token, library_name="convnn")
            hub.create_repo(name, private=private, exist_ok=True)
            return str(hub.upload_folder(repo_id=name, folder_path=folder, commit_message=message))
        except (HfHubHTTPError, HFValidationError, OSError) as error:
            raise OutputError(f"name={name!r} cannot be uploaded: {first_line(error)}") from None


def check_installed() -> None:
    """Refuse to go on without the package that talks to the hub.

    Raises:
        InputError: it is not installed, or does not load.
    """
    need("huggingface_hub", "the Hugging Face hub", extra="hub")


def _fetch(name: str, revision: str | None, token: str | None) -> Path:
    """Fetch the two files that are read, and return their folder in the local cache of the hub."""
    check_installed()
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, token=token, allow_patterns=[CONFIG, WEIGHTS]))
    except (OSError, ValueError) as error:  # every error of the hub is one of the two
        raise InputError(
            f"name={name!r} is not a folder here, and cannot be fetched from the hub: {first_line(error)}"
        ) from None
