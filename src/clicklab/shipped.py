"""The weights that come with ClickLab: those of `clicklite`, for whoever wants to click at once."""

from __future__ import annotations

from pathlib import Path

NAME = "clicklite"
FILE = f"{NAME}.safetensors"
# inside an installed package, and in a checkout
PLACES = (Path(__file__).parent / "checkpoints", Path(__file__).parents[2] / "checkpoints")


def shipped_weights() -> Path:
    """The file of the shipped network.

    Raises:
        FileNotFoundError: a copy of ClickLab without it.
    """
    for folder in PLACES:
        if (folder / FILE).is_file():
            return folder / FILE
    raise FileNotFoundError(
        f"{FILE} is missing: this copy of ClickLab came without its own network. Install it again from its wheel or "
        f"repository, or name a checkpoint of yours"
    )


def checkpoint_path(path: str | Path | None) -> Path:
    """The path itself; for None, and for the name `clicklite` where there is no such file, the shipped file."""
    if path is None or (str(path) == NAME and not Path(path).exists()):
        return shipped_weights()
    return Path(path)
